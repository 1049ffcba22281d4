"""A user. So far only the first administrator is made, by the set-up of a new installation.

Commands, events, state, fold and decide, in that order. Event names and fields are stored for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from domain.decider import Companion, Decider
from domain.identity import check_slug
from domain.rejection import Conflict

Role = Literal["viewer", "operator", "author", "approver", "auditor", "administrator"]


@dataclass(frozen=True, slots=True)
class CreateFirstAdministrator:
    """Make the first user; `password` is the id under which the vault holds the sealed password hash."""

    name: str
    password: str


Command = CreateFirstAdministrator


@dataclass(frozen=True, slots=True)
class UserCreated:
    """A user may sign in; the password's hash is in the vault under `password`."""

    name: str
    password: str


@dataclass(frozen=True, slots=True)
class RoleGranted:
    """The user has a role from now on."""

    role: Role


Event = UserCreated | RoleGranted


@dataclass(frozen=True, slots=True)
class UserState:
    """What a user's rules need to remember; `name` is empty before the user was created."""

    name: str = ""
    roles: tuple[Role, ...] = ()


def fold(state: UserState, events: Sequence[Event]) -> UserState:
    """The state after `events`."""
    for event in events:
        match event:
            case UserCreated():
                state = UserState(event.name)
            case RoleGranted(role):
                state = replace(state, roles=(*state.roles, role))
    return state


def decide(command: Command, state: UserState, companion: Companion | None = None) -> Sequence[Event]:
    """The events that `command` causes in `state`, or a rejection."""
    if state.name:
        raise Conflict("user_exists", f"user {state.name} exists already")
    check_slug(command.name)
    return [UserCreated(command.name, command.password), RoleGranted("administrator")]


DECIDER: Decider[Command, UserState, Event] = Decider(UserState(), decide, fold)

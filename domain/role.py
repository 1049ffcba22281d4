"""A custom role: permissions under one name, perhaps limited to some targets, jobs or credentials.

Roles live in the users' shard: whoever grants one is decided with the roles in force at hand. A removed role grants nothing any
more and its name stays taken, so that nobody who once held it comes to hold another of the same name.

Commands, events, state, fold and decide, in that order. Event names and fields are stored for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from domain.access import NO_LIMITS, PERMISSIONS, ROLES, WHOLE_ONLY, Limits, check_limits
from domain.decider import Companion, Decider
from domain.identity import USERS, check_slug, roles_in
from domain.rejection import Absent, Conflict, FieldError, Invalid
from domain.title import check_title

MAX_CUSTOM_ROLES = 2_000
"""How many custom roles there are at once; another is refused."""


@dataclass(frozen=True, slots=True)
class DefineRole:
    """Make a role that has these permissions within these limits."""

    name: str
    permissions: tuple[str, ...]
    title: str = ""
    limits: Limits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class ChangeRole:
    """Change what is not None; the permissions and the limits are all that the role has then."""

    title: str | None = None
    permissions: tuple[str, ...] | None = None
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class RemoveRole:
    """Whoever holds the role has nothing of it any more."""


Command = DefineRole | ChangeRole | RemoveRole


@dataclass(frozen=True, slots=True)
class RoleDefined:
    """A role can be granted."""

    name: str
    title: str
    permissions: tuple[str, ...]
    limits: Limits


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """The role is this from now on, for everybody who holds it."""

    title: str
    permissions: tuple[str, ...]
    limits: Limits


@dataclass(frozen=True, slots=True)
class RoleRemoved:
    """The role grants nothing any more, whoever holds it, and can be granted no more."""


Event = RoleDefined | RoleChanged | RoleRemoved


@dataclass(frozen=True, slots=True)
class RoleState:
    """What a role's rules need to remember; `name` is empty before it was defined."""

    name: str = ""
    title: str = ""
    permissions: tuple[str, ...] = ()
    limits: Limits = NO_LIMITS
    removed: bool = False


def fold(state: RoleState, events: Sequence[Event]) -> RoleState:
    """The state after `events`."""
    for event in events:
        match event:
            case RoleDefined(name, title, permissions, limits):
                state = RoleState(name, title, permissions, limits)
            case RoleChanged(title, permissions, limits):
                state = replace(state, title=title, permissions=permissions, limits=limits)
            case RoleRemoved():
                state = replace(state, removed=True)
    return state


def decide(command: Command, state: RoleState, companion: Companion | None = None) -> Sequence[Event]:
    """The events that `command` causes in `state`, or a rejection. `companion` names the roles in force."""
    if isinstance(command, DefineRole):
        return _define(command, state, companion)
    if not state.name:
        raise Absent("role_not_found", "there is no such role")
    if state.removed:
        raise Conflict("role_removed", f"role {state.name} was removed")
    if isinstance(command, RemoveRole):
        return [RoleRemoved()]
    changed = RoleChanged(
        state.title if command.title is None else command.title,
        state.permissions if command.permissions is None else command.permissions,
        state.limits if command.limits is None else command.limits,
    )
    _check(changed.title, changed.permissions, changed.limits)
    return [] if fold(state, [changed]) == state else [changed]


def _define(command: DefineRole, state: RoleState, companion: Companion | None) -> Sequence[Event]:
    check_slug(command.name)
    if command.name in ROLES:
        raise Conflict("role_exists", f"{command.name} is a built-in role")
    if state.name:
        raise Conflict("role_exists", f"role {state.name} exists already" + (" and was removed" if state.removed else ""))
    _check(command.title, command.permissions, command.limits)
    if companion is not None and len(roles_in(companion.unfinished)) >= MAX_CUSTOM_ROLES:
        raise Conflict("too_many_roles", f"there are {MAX_CUSTOM_ROLES} custom roles; remove one")
    return [RoleDefined(command.name, command.title, command.permissions, command.limits)]


def _check(title: str, permissions: Sequence[str], limits: Limits) -> None:
    if errors := [*check_title(title), *_permission_errors(permissions, limits), *check_limits(limits)]:
        raise Invalid(*errors)


def _permission_errors(permissions: Sequence[str], limits: Limits) -> list[FieldError]:
    if not 1 <= len(permissions) <= len(PERMISSIONS):
        return [FieldError("permissions", f"must name at least one permission and at most the {len(PERMISSIONS)} there are")]
    wrong = ((f"permissions.{i}", _why_not(name, name in permissions[:i], limits)) for i, name in enumerate(permissions))
    return [FieldError(field, reason) for field, reason in wrong if reason]


def _why_not(permission: str, repeated: bool, limits: Limits) -> str | None:
    """Why the permission cannot stand where it does."""
    if permission not in PERMISSIONS:
        return "there is no such permission"
    if repeated:
        return "is there twice"
    if permission.startswith("self."):
        return "is everybody's and needs no role"
    if limits != NO_LIMITS and permission in WHOLE_ONLY:
        return "cannot be limited: whoever has it could free themselves of any limit"
    if limits != NO_LIMITS and permission == "credentials.write" and limits.credentials is None:
        return "takes a limit of credentials in a role that is limited"
    return None


DECIDER: Decider[Command, RoleState, Event] = Decider(
    RoleState(), decide, fold, companion=lambda command: USERS, is_finished=lambda state: state.removed
)

"""A credential: what opens targets. Its secret is never here: the vault keeps it, sealed, under an id.

Commands, events, state, fold and decide, in that order. Event names and fields are stored for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from domain.decider import Companion, Decider
from domain.identity import check_slug
from domain.rejection import Absent, Conflict, Invalid, Stale
from domain.title import check_title

CredentialKind = Literal["ssh_key", "password", "winrm", "token"]
SSH_KINDS: tuple[CredentialKind, ...] = ("ssh_key", "password")
"""What an SSH target can be logged in to with."""


@dataclass(frozen=True, slots=True)
class CreateCredential:
    """Make a credential known; `secret` is the id under which the vault holds its sealed first revision."""

    name: str
    kind: CredentialKind
    secret: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class RotateCredential:
    """Replace the secret. It was sealed for `revision`, which must be the next one."""

    kind: CredentialKind
    secret: str
    revision: int


@dataclass(frozen=True, slots=True)
class RevokeCredential:
    """End a credential: it opens nothing any more; its name stays taken."""


@dataclass(frozen=True, slots=True)
class ShredCredential:
    """End a credential, if it has not ended, and have what the vault holds of all its revisions destroyed for good; asked again,
    nothing is left to decide.
    """


Command = CreateCredential | RotateCredential | RevokeCredential | ShredCredential


@dataclass(frozen=True, slots=True)
class CredentialCreated:
    """A credential became known; its secret's first revision is in the vault under `secret`."""

    name: str
    title: str
    kind: CredentialKind
    secret: str
    revision: int


@dataclass(frozen=True, slots=True)
class CredentialRotated:
    """The secret has a new revision, in the vault under `secret`; the one before opens nothing any more."""

    secret: str
    revision: int


@dataclass(frozen=True, slots=True)
class CredentialRevoked:
    """The credential opens nothing any more."""


@dataclass(frozen=True, slots=True)
class CredentialShredded:
    """The credential opens nothing any more, and no revision of its secret is left: the vault destroys their keys."""


Event = CredentialCreated | CredentialRotated | CredentialRevoked | CredentialShredded


@dataclass(frozen=True, slots=True)
class CredentialState:
    """What a credential's rules need to remember; `name` is empty before it was created, `revision` 0 when none is left."""

    name: str = ""
    kind: CredentialKind = "ssh_key"
    revision: int = 0
    revoked: bool = False


def fold(state: CredentialState, events: Sequence[Event]) -> CredentialState:
    """The state after `events`."""
    for event in events:
        match event:
            case CredentialCreated():
                state = CredentialState(event.name, event.kind, event.revision)
            case CredentialRotated():
                state = replace(state, revision=event.revision)
            case CredentialRevoked():
                state = replace(state, revoked=True)
            case CredentialShredded():
                state = replace(state, revision=0, revoked=True)
    return state


def decide(command: Command, state: CredentialState, companion: Companion | None = None) -> Sequence[Event]:
    """The events that `command` causes in `state`, or a rejection."""
    if isinstance(command, CreateCredential):
        return _create(command, state)
    if not state.name:
        raise Absent("credential_not_found", "there is no such credential")
    if isinstance(command, ShredCredential):
        return [CredentialShredded()] if state.revision else []  # who asks again wants to know what became of it
    if state.revoked:
        raise Conflict("credential_revoked", f"credential {state.name} is revoked")
    match command:
        case RotateCredential(kind, secret, revision):
            if kind != state.kind:
                raise Conflict("credential_kind_differs", f"credential {state.name} is of kind {state.kind}")
            if revision != state.revision + 1:
                raise Stale("credential_rotated_meanwhile", "the credential has a newer revision than was seen")
            return [CredentialRotated(secret, revision)]
        case RevokeCredential():
            return [CredentialRevoked()]


def _create(command: CreateCredential, state: CredentialState) -> Sequence[Event]:
    if state.name:
        raise Conflict("credential_exists", f"credential {state.name} exists already")
    check_slug(command.name)
    if errors := check_title(command.title):
        raise Invalid(*errors)
    return [CredentialCreated(command.name, command.title, command.kind, command.secret, 1)]


DECIDER: Decider[Command, CredentialState, Event] = Decider(CredentialState(), decide, fold)

"""What do a user's rules need to remember, and what does an event make of it?"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from domain.access import ADMINISTRATOR
from domain.user.messages import (
    CommandsDenied,
    Event,
    IdentityLinked,
    IdentityUnlinked,
    PasswordChanged,
    RoleGranted,
    RoleRevoked,
    SessionsEnded,
    SignedIn,
    SignInsFailed,
    TitleChanged,
    TokenIssued,
    TokenRevoked,
    UserCreated,
    UserDisabled,
    UserEnabled,
    UserErased,
    UserLinked,
    UserRetitled,
)


@dataclass(frozen=True, slots=True)
class UserState:
    """What a user's rules need to remember; `name` is empty before the user was created."""

    name: str = ""
    title: str = ""
    roles: tuple[str, ...] = ()
    disabled: bool = False
    password: str | None = None
    sessions: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    linked: tuple[str, str] | None = None
    """Issuer and subject of the identity provider's user, from an event from before."""
    sealed_title: str | None = None
    erased: bool = False
    identity: str | None = None

    @property
    def is_linked(self) -> bool:
        """Whether an identity provider says who this is."""
        return self.linked is not None or self.identity is not None

    @property
    def administers(self) -> bool:
        """Whether this is an administrator who may act. A service account cannot sign in and so repairs nothing: it is none."""
        return self.password is not None and not self.disabled and ADMINISTRATOR in self.roles


def fold(state: UserState, events: Sequence[Event]) -> UserState:
    """The state after `events`."""
    for event in events:
        state = _evolve(state, event)
    return state


def _evolve(state: UserState, event: Event) -> UserState:  # noqa: C901 - one flat case an event
    match event:
        case UserCreated(name, password, title):
            return UserState(name, title, password=password)
        case UserLinked(issuer, subject):
            return replace(state, linked=(issuer, subject))
        case IdentityLinked(identity):
            return replace(state, linked=None, identity=identity)
        case IdentityUnlinked():
            return replace(state, linked=None, identity=None, roles=(), sessions=(), tokens=())
        case UserRetitled(title):
            return replace(state, title=title, sealed_title=None)
        case TitleChanged(secret):
            return replace(state, title="", sealed_title=secret)
        case RoleGranted(role):
            return replace(state, roles=(*state.roles, role))
        case RoleRevoked(role):
            return replace(state, roles=tuple(r for r in state.roles if r != role))
        case UserDisabled():
            return replace(state, disabled=True, sessions=())
        case UserEnabled():
            return replace(state, disabled=False)
        case PasswordChanged(password, _, keeps):
            return replace(state, password=password, sessions=tuple(s for s in state.sessions if s == keeps))
        case SignedIn(session):
            return replace(state, sessions=(*state.sessions, session))
        case SessionsEnded(sessions):
            return replace(state, sessions=tuple(s for s in state.sessions if s not in sessions))
        case TokenIssued(token):
            return replace(state, tokens=(*state.tokens, token))
        case TokenRevoked(token):
            return replace(state, tokens=tuple(t for t in state.tokens if t != token))
        case UserErased():
            return UserState(state.name, disabled=True, erased=True)
        case SignInsFailed() | CommandsDenied():
            return state


def digest_before(issuer: str, subject: str) -> str:
    """What stands for an identity provider's user whom an event from before names in clear."""
    return hashlib.sha256(f"{issuer}\0{subject}".encode(errors="surrogatepass")).hexdigest()

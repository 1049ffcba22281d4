"""A user: a person or a service account, who may sign in or carry API tokens, in some roles.

All users live in one shard, so that the rule "the last administrator stays" is exact: whoever decides sees who else is one. Roles
live there, too: one that is granted is there at that moment.
Passwords and tokens are never here: the vault keeps their hashes, under ids that may be seen. Nor is what says who a person is,
so that it can be erased: the vault keeps titles, and whom an identity provider names; of that a keyed digest is here, too.
(Events from before hold both in clear.)

Commands, events, state, fold and decide, in that order. Event names and fields are stored for ever.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from domain.access import ADMINISTRATOR, PERMISSIONS, ROLES
from domain.decider import Companion, Decider
from domain.identity import USERS, check_slug, roles_in, users_in
from domain.rejection import Absent, Conflict, FieldError, Invalid
from domain.title import check_title

MAX_SESSIONS, MAX_TOKENS, MAX_ROLES = 20, 50, 20
"""How many sessions (the oldest ends), API tokens and roles (another is refused) a user has at once."""

Ended = Literal["sign_out", "refresh_token_reused", "too_many"]
"""Why sessions end by themselves; changing or resetting a password and disabling the user end them, too."""


@dataclass(frozen=True, slots=True)
class CreateFirstAdministrator:
    """Make the first user; `password` is the id under which the vault holds the sealed password hash."""

    name: str
    password: str


@dataclass(frozen=True, slots=True)
class CreateUser:
    """Make a user. A person has a password (`password` is its hash's id in the vault), a service account has tokens only.

    `sealed_title` is the id under which the vault holds the title; None: there is none.
    """

    name: str
    sealed_title: str | None = None
    roles: tuple[str, ...] = ()
    password: str | None = None


@dataclass(frozen=True, slots=True)
class ChangeUser:
    """Change what is not None: the title (its id in the vault, empty to have none), the roles (all of them), whether the user is
    disabled.
    """

    sealed_title: str | None = None
    roles: tuple[str, ...] | None = None
    disabled: bool | None = None


@dataclass(frozen=True, slots=True)
class ChangePassword:
    """Replace the password by the one whose hash the vault holds under `password`. Every session but `keeps` ends.

    `proved` is the id of the password that the user showed to know; None: an administrator gives another one.
    """

    password: str
    proved: str | None = None
    keeps: str | None = None


@dataclass(frozen=True, slots=True)
class RecordSignIn:
    """The password with the id `password` was given (None: another proof): `session` begins."""

    session: str
    password: str | None = None


@dataclass(frozen=True, slots=True)
class SignInWithProvider:
    """An identity provider says who this is: `session` begins, with the roles that it gives. Who is new here is made. Who is
    given no role any more loses those of before, and no session begins.

    `identity` is the keyed digest of issuer and subject; the vault has them in clear under `sealed_identity`. `linked_before` is
    what `digest_before` makes of the same where an event from before holds them. `sealed_title` is as in `ChangeUser`: None
    where the provider says the title that there is.
    """

    name: str
    identity: str
    roles: tuple[str, ...]
    session: str
    sealed_identity: str | None = None
    sealed_title: str | None = None
    linked_before: str | None = None


@dataclass(frozen=True, slots=True)
class RecordSignInFailures:
    """So many wrong passwords were given for this user within a window of time."""

    count: int
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class RecordDeniedCommands:
    """So many writes of this user were denied within a window of time, counted by the permission they would have taken."""

    counts: Mapping[str, int]
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class EndSessions:
    """End these sessions, or all when None: no access or refresh token of theirs is good any more."""

    sessions: tuple[str, ...] | None
    reason: Ended


@dataclass(frozen=True, slots=True)
class IssueToken:
    """Give the user an API token; `secret` is the id of its hash in the vault.

    It carries `permissions` as far as its owner has them (None: all of the owner's), until `expires_at`.
    """

    token: str
    title: str
    secret: str
    permissions: tuple[str, ...] | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class RevokeToken:
    """End an API token."""

    token: str


@dataclass(frozen=True, slots=True)
class EraseUser:
    """End the user for good, and have what the vault holds of who it is destroyed. The name stays taken."""


Command = (
    CreateFirstAdministrator
    | CreateUser
    | ChangeUser
    | ChangePassword
    | RecordSignIn
    | SignInWithProvider
    | RecordSignInFailures
    | RecordDeniedCommands
    | EndSessions
    | IssueToken
    | RevokeToken
    | EraseUser
)


@dataclass(frozen=True, slots=True)
class UserCreated:
    """A user exists; the password's hash is in the vault under `password`, a service account has none. Only events from before
    hold a title.
    """

    name: str
    password: str | None
    title: str = ""


@dataclass(frozen=True, slots=True)
class UserLinked:
    """The user is the one whom this identity provider calls `subject`, and signs in through it alone: in events from before."""

    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class IdentityLinked:
    """The user is the one of an identity provider of whom this is the keyed digest, and signs in through it alone; who that is
    is in the vault under `secret`, unless it did not answer then.
    """

    identity: str
    secret: str | None


@dataclass(frozen=True, slots=True)
class UserRetitled:
    """The user's title is another one, in clear: in events from before."""

    title: str


@dataclass(frozen=True, slots=True)
class TitleChanged:
    """The user's title is another one, in the vault under `secret`; the one before opens no more. None: there is none."""

    secret: str | None


@dataclass(frozen=True, slots=True)
class RoleGranted:
    """The user has a role from now on."""

    role: str


@dataclass(frozen=True, slots=True)
class RoleRevoked:
    """The user has a role no more."""

    role: str


@dataclass(frozen=True, slots=True)
class UserDisabled:
    """The user may do nothing any more; every session has ended, API tokens rest."""


@dataclass(frozen=True, slots=True)
class UserEnabled:
    """The user may sign in again."""


@dataclass(frozen=True, slots=True)
class PasswordChanged:
    """The password is another one, whose hash is in the vault under `password`; every session but `keeps` has ended."""

    password: str
    reset: bool
    keeps: str | None = None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session began."""

    session: str


@dataclass(frozen=True, slots=True)
class SignInsFailed:
    """So many wrong passwords were given within a window; one event a window, not one an attempt."""

    count: int
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class CommandsDenied:
    """So many writes were denied within a window, by the permission that was lacking; one event a window, not one a try."""

    counts: Mapping[str, int]
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class SessionsEnded:
    """These sessions are over."""

    sessions: tuple[str, ...]
    reason: Ended


@dataclass(frozen=True, slots=True)
class TokenIssued:
    """The user has an API token, whose hash is in the vault under `secret`."""

    token: str
    title: str
    secret: str
    permissions: tuple[str, ...] | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class TokenRevoked:
    """The API token is good no more."""

    token: str


@dataclass(frozen=True, slots=True)
class UserErased:
    """The user has ended for good, with every session, API token, role and link; the vault destroys what says who it was."""


Event = (
    UserCreated
    | UserLinked
    | IdentityLinked
    | UserRetitled
    | TitleChanged
    | RoleGranted
    | RoleRevoked
    | UserDisabled
    | UserEnabled
    | PasswordChanged
    | SignedIn
    | SignInsFailed
    | CommandsDenied
    | SessionsEnded
    | TokenIssued
    | TokenRevoked
    | UserErased
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


def decide(command: Command, state: UserState, companion: Companion | None = None) -> Sequence[Event]:
    """The events that `command` causes in `state`, or a rejection. `companion` names the administrators who may act and
    the roles in force.
    """
    if isinstance(command, CreateFirstAdministrator | CreateUser):
        return _create(command, state, companion)
    if isinstance(command, SignInWithProvider):
        return _sign_in_with_provider(command, state, companion)
    if not state.name:
        raise Absent("user_not_found", "there is no such user")
    match command:
        case EraseUser():
            return _erase(state, companion)
        case RecordSignInFailures() | RecordDeniedCommands() | EndSessions():
            return _noted(command, state)
        case _ if state.erased:
            raise Conflict("user_erased", f"user {state.name} is erased")
        case ChangeUser():
            return _change(command, state, companion)
        case RevokeToken(token):
            if token not in state.tokens:
                raise Absent("token_not_found", f"user {state.name} has no such token")
            return [TokenRevoked(token)]
        case _:
            return _open(command, state)


def _noted(command: RecordSignInFailures | RecordDeniedCommands | EndSessions, state: UserState) -> Sequence[Event]:
    """What happens to a user whoever it is."""
    match command:
        case RecordSignInFailures(count, since, until):
            return [SignInsFailed(count, since, until)]
        case RecordDeniedCommands(counts, since, until):
            return [CommandsDenied(dict(counts), since, until)]
        case EndSessions(sessions, reason):
            ending = tuple(s for s in state.sessions if sessions is None or s in sessions)
            return [SessionsEnded(ending, reason)] if ending else []


def _create(command: CreateFirstAdministrator | CreateUser, state: UserState, companion: Companion | None) -> Sequence[Event]:
    if state.name:
        raise Conflict("user_exists", f"user {state.name} exists already")
    check_slug(command.name)
    if isinstance(command, CreateFirstAdministrator):
        return [UserCreated(command.name, command.password), RoleGranted(ADMINISTRATOR)]
    if errors := _role_errors(command.roles, (), companion):
        raise Invalid(*errors)
    titled = _titled(command.sealed_title, UserState())
    return [UserCreated(command.name, command.password), *titled, *(RoleGranted(role) for role in command.roles)]


def _titled(sealed_title: str | None, state: UserState) -> list[Event]:
    """What changes when the title is to be this one: None leaves it, an empty id takes it away."""
    if sealed_title is None or (sealed_title == "" and not state.title and state.sealed_title is None):
        return []
    return [TitleChanged(sealed_title or None)] if sealed_title != state.sealed_title else []


def _change(command: ChangeUser, state: UserState, companion: Companion | None) -> Sequence[Event]:
    if command.roles is not None and state.is_linked and set(command.roles) != set(state.roles):
        raise Conflict("user_linked", f"the identity provider says which roles user {state.name} has")
    wanted = command.roles if command.roles is not None else state.roles
    if errors := _role_errors(command.roles or (), state.roles, companion):
        raise Invalid(*errors)
    events = _titled(command.sealed_title, state)
    events += [RoleGranted(role) for role in wanted if role not in state.roles]
    events += [RoleRevoked(role) for role in state.roles if role not in wanted]
    if command.disabled is not None and command.disabled != state.disabled:
        events.append(UserDisabled() if command.disabled else UserEnabled())
    _check_one_stays(state, fold(state, events), companion)
    return events


def _erase(state: UserState, companion: Companion | None) -> Sequence[Event]:
    if state.erased:
        return []
    _check_one_stays(state, fold(state, [UserErased()]), companion)
    return [UserErased()]


def _check_one_stays(before: UserState, after: UserState, companion: Companion | None) -> None:
    """Raise `Conflict` when nobody would be left who may act as administrator."""
    others = [name for name in users_in(companion.unfinished) if name != before.name] if companion else []
    if before.administers and not after.administers and not others:
        raise Conflict("last_administrator", f"user {before.name} is the last administrator who may act")


def _open(command: ChangePassword | RecordSignIn | IssueToken, state: UserState) -> Sequence[Event]:
    """What a disabled user cannot have, except another password from an administrator."""
    if isinstance(command, ChangePassword) and state.is_linked:
        raise Conflict("user_linked", f"user {state.name} signs in through the identity provider alone")
    if isinstance(command, ChangePassword) and command.proved is None:
        return [PasswordChanged(command.password, True)]
    if state.disabled:
        raise Conflict("user_disabled", f"user {state.name} is disabled")
    match command:
        case ChangePassword(password, proved, keeps):
            _check_proof(proved, state)
            return [PasswordChanged(password, False, keeps if keeps in state.sessions else None)]
        case RecordSignIn(session, password):
            if session in state.sessions:
                return []
            _check_proof(password, state)
            return _begin(session, state)
        case IssueToken():
            return _issue(command, state)


def _begin(session: str, state: UserState) -> list[Event]:
    over = state.sessions[: len(state.sessions) - MAX_SESSIONS + 1] if len(state.sessions) >= MAX_SESSIONS else ()
    return [*([SessionsEnded(over, "too_many")] if over else []), SignedIn(session)]


def _sign_in_with_provider(command: SignInWithProvider, state: UserState, companion: Companion | None) -> Sequence[Event]:
    """A user of one's own is nobody else's: a name that is taken here is not given to whoever has it elsewhere, and who has a
    name here gets no second one, or what is taken from the one would stay with the other.
    """
    who = tuple(f"linked/{digest}/" for digest in (command.identity, command.linked_before) if digest)
    mine = {f"{each}{command.name}" for each in who}
    if companion and any(entry.startswith(who) and entry not in mine for entry in companion.unfinished):
        raise Conflict("identity_linked", "this user of the identity provider has another name here")
    if state.erased:
        raise Conflict("user_erased", f"user {state.name} is erased")
    is_before = state.linked is not None and digest_before(*state.linked) == command.linked_before
    if state.name and not is_before and state.identity != command.identity:
        raise Conflict("user_not_linked", f"user {state.name} does not sign in as this user of the identity provider")
    if state.disabled:
        raise Conflict("user_disabled", f"user {state.name} is disabled")
    if command.session in state.sessions:
        return []
    check_slug(command.name)
    if errors := _role_errors(command.roles, state.roles, companion):
        raise Invalid(*errors)
    if not command.roles and not state.name:
        raise Invalid(FieldError("roles", "are none"))
    events: list[Event] = [] if state.name else [UserCreated(command.name, None)]
    if state.identity != command.identity:
        events.append(IdentityLinked(command.identity, command.sealed_identity))
    events += _titled(command.sealed_title, state)
    events += [RoleGranted(role) for role in command.roles if role not in state.roles]
    events += [RoleRevoked(role) for role in state.roles if role not in command.roles]
    return [*events, *_begin(command.session, state)] if command.roles else events


def digest_before(issuer: str, subject: str) -> str:
    """What stands for an identity provider's user whom an event from before names in clear."""
    return hashlib.sha256(f"{issuer}\0{subject}".encode(errors="surrogatepass")).hexdigest()


def _listed_as(state: UserState, name: str) -> str:
    """What a user is called among those that live with the users."""
    if not state.is_linked:
        return name
    return f"linked/{digest_before(*state.linked) if state.linked else state.identity}/{name}"


def _check_proof(password: str | None, state: UserState) -> None:
    """Hashing takes its time: the password that was given must not have been replaced meanwhile."""
    if password is not None and password != state.password:
        raise Conflict("password_changed", f"the password of user {state.name} was changed meanwhile")


def _issue(command: IssueToken, state: UserState) -> Sequence[Event]:
    if command.token in state.tokens:
        raise Conflict("token_exists", "the token was issued already")
    if len(state.tokens) >= MAX_TOKENS:
        raise Conflict("too_many_tokens", f"user {state.name} has {MAX_TOKENS} tokens; revoke one")
    permissions = command.permissions or ()
    errors = check_title(command.title)
    if len(permissions) > len(PERMISSIONS):
        errors.append(FieldError("permissions", f"names more than the {len(PERMISSIONS)} there are"))
    else:
        errors += _set_errors("permissions", permissions, PERMISSIONS)
    try:
        command.expires_at.astimezone(UTC)
    except OverflowError:
        errors.append(FieldError("expires_at", "is beyond the year 9999"))
    if errors:
        raise Invalid(*errors)
    return [TokenIssued(command.token, command.title, command.secret, command.permissions, command.expires_at)]


def _role_errors(roles: Sequence[str], held: Sequence[str], companion: Companion | None) -> list[FieldError]:
    """What is wrong with the roles a user is to have. One that is held already is not granted again: it may be gone by now."""
    if len(roles) > MAX_ROLES:
        return [FieldError("roles", f"are more than {MAX_ROLES}")]
    return _set_errors("roles", roles, {*ROLES, *held, *(roles_in(companion.unfinished) if companion else ())})


def _set_errors(field: str, names: Sequence[str], known: Collection[str]) -> list[FieldError]:
    """What is wrong with a list that names some of those `known`, each at most once."""
    errors = [FieldError(f"{field}.{i}", f"there is no such {field[:-1]}") for i, name in enumerate(names) if name not in known]
    return errors + [FieldError(f"{field}.{i}", "is there twice") for i, name in enumerate(names) if name in names[:i]]


DECIDER: Decider[Command, UserState, Event] = Decider(
    UserState(),
    decide,
    fold,
    companion=lambda command: USERS,
    is_finished=lambda state: not state.administers and not state.is_linked,
    listed_as=_listed_as,
)

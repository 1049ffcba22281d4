"""What may be done with a user, or by one? Each command in what the state is, with who administers and which roles there are."""

from collections.abc import Collection, Sequence
from datetime import UTC

from domain.access import ADMINISTRATOR, PERMISSIONS, ROLES
from domain.decider import Companion, Decider
from domain.identity import USERS, check_slug, roles_in, users_in
from domain.rejection import Absent, Conflict, FieldError, Invalid
from domain.title import check_title
from domain.user.messages import (
    ChangePassword,
    ChangeUser,
    Command,
    CommandsDenied,
    CreateFirstAdministrator,
    CreateUser,
    EndSessions,
    EraseUser,
    Event,
    IdentityLinked,
    IdentityUnlinked,
    IssueToken,
    PasswordChanged,
    RecordDeniedCommands,
    RecordSignIn,
    RecordSignInFailures,
    RevokeToken,
    RoleGranted,
    RoleRevoked,
    SessionsEnded,
    SignedIn,
    SignInsFailed,
    SignInWithProvider,
    TitleChanged,
    TokenIssued,
    TokenRevoked,
    UnlinkIdentity,
    UserCreated,
    UserDisabled,
    UserEnabled,
    UserErased,
)
from domain.user.state import UserState, digest_before, fold

MAX_SESSIONS, MAX_TOKENS, MAX_ROLES = 20, 50, 20
"""How many sessions (the oldest ends), API tokens and roles (another is refused) a user has at once."""
MAX_DENIED_NAMED = 10
"""How many things one event names that denied commands were about; the others it counts."""


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
        case RevokeToken() | UnlinkIdentity():
            return _taken(command, state)
        case _:
            return _open(command, state)


def _noted(command: RecordSignInFailures | RecordDeniedCommands | EndSessions, state: UserState) -> Sequence[Event]:
    """What happens to a user whoever it is."""
    match command:
        case RecordSignInFailures(count, since, until):
            return [SignInsFailed(count, since, until)]
        case RecordDeniedCommands(counts, since, until, about):
            named = about[:MAX_DENIED_NAMED]
            others = sum(counts.values()) - sum(each.count for each in named)
            return [CommandsDenied(dict(counts), since, until, named, others)]
        case EndSessions(sessions, reason, keeps):
            if keeps is not None and keeps not in state.sessions:
                raise Absent("session_not_found", f"user {state.name} has no such session")
            ending = tuple(s for s in state.sessions if s != keeps and (sessions is None or s in sessions))
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


def _taken(command: RevokeToken | UnlinkIdentity, state: UserState) -> Sequence[Event]:
    """What is taken from a user. Who is linked has no password, and so is not the last administrator."""
    match command:
        case RevokeToken(token):
            if token not in state.tokens:
                raise Absent("token_not_found", f"user {state.name} has no such token")
            return [TokenRevoked(token)]
        case UnlinkIdentity():
            if not state.is_linked:
                raise Absent("identity_not_found", f"user {state.name} is not an identity provider's")
            return [IdentityUnlinked()]


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

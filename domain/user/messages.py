"""What can be asked of a user, and what can happen to one? Commands, then events, whose names and fields are stored for ever."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Ended = Literal["sign_out", "refresh_token_reused", "too_many", "revoked"]
"""Why sessions end: by themselves, or revoked by who manages users. Changing or resetting a password and disabling the user end
them, too.
"""


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
class UnlinkIdentity:
    """Take from a user the link to an identity provider's, with all that came by it: roles, sessions, API tokens."""


@dataclass(frozen=True, slots=True)
class RecordSignInFailures:
    """So many wrong passwords were given for this user within a window of time."""

    count: int
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Denials:
    """So many of the denied writes would have taken `permission` on one thing. `object` is what it is called, as its stream is
    (`target/web-01`), whether there is one or not; its kind alone (`target`) where nothing was named that could be one.
    """

    permission: str
    object: str
    count: int


@dataclass(frozen=True, slots=True)
class RecordDeniedCommands:
    """So many writes of this user were denied within a window of time, counted by the permission they would have taken, and what
    the first of them were about.
    """

    counts: Mapping[str, int]
    since: datetime
    until: datetime
    about: tuple[Denials, ...] = ()


@dataclass(frozen=True, slots=True)
class EndSessions:
    """End these sessions, or all when None: no access or refresh token of theirs is good any more. The session `keeps` asks that
    all others end, and goes on; one that is over asks for nothing any more.
    """

    sessions: tuple[str, ...] | None
    reason: Ended
    keeps: str | None = None


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
    | UnlinkIdentity
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
class IdentityUnlinked:
    """The user is no identity provider's any more, and whom that one names is not this user: every role, session and API token
    has gone with the link.
    """


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
    """So many writes were denied within a window, by the permission that was lacking; one event a window, not one a try. `about`
    is what the first things were that they were about, `others` how many of all the writes were about none of these.
    """

    counts: Mapping[str, int]
    since: datetime
    until: datetime
    about: tuple[Denials, ...]
    others: int


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
    | IdentityUnlinked
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

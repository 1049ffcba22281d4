"""What does the API need from outside? Every port and bound it works with, passed in; nothing is global and nothing is read
from the environment.
"""

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from sqlalchemy import Engine

from api.caller_address import Network
from api.identity_provider import IdentityProvider
from api.rate_limit import Buckets
from api.sessions import SessionStore
from api.sign_in_limit import SignInLimit
from api.tokens import Tokens
from schemas.log import CommandSender, EventReader, Outcomes
from schemas.unserved import UnservedShard
from schemas.vault import Vault
from schemas.wakeups import Wakeups


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """The time, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...


class Ids(Protocol):
    """Makes what nobody can guess or repeat."""

    def new_id(self) -> UUID:
        """A fresh UUIDv7."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """That many unpredictable bytes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """The API's bounds, and whom it believes. Times in seconds, sizes in bytes.

    `max_arriving` is how much all bodies that are on their way may hold together, `max_slow_bodies` how many of one address may
    take longer than `slow_after_s`. On a new installation a sign-in waits `first_user_s` for the first
    user. Waiting are those requests for which the read models must come further than they are.
    """

    outcome_wait_s: float = 5.0
    freshness_wait_s: float = 5.0
    first_user_s: float = 15.0
    receive_s: float = 30.0
    read_s: float = 10.0
    max_body: int = 1_048_576
    max_form: int = 65_536
    max_in_flight: int = 200
    max_arriving: int = 134_217_728
    max_slow_bodies: int = 50
    slow_after_s: float = 1.0
    max_waiting: int = 100
    max_waiting_per_account: int = 20
    max_streams: int = 100
    max_streams_per_actor: int = 20
    heartbeat_s: float = 15.0
    poll_s: float = 0.5
    audit_window_s: float = 60.0
    trusted_proxies: tuple[Network, ...] = ()
    cors_origins: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    """What the health tells operators of how this server is set up, though it is no fault (HAZARDS R19)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeys:
    """Keys that lie in the vault, one a purpose. `identities` is never another: by it an identity provider's users are known."""

    fingerprints: bytes
    cursors: bytes
    identities: bytes


@dataclass(slots=True)
class Drain:
    """Whether this server is stopping: then new requests are refused and live streams end within `ApiSettings.poll_s`."""

    stopping: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiDependencies:
    """Everything `create_app` works with. `threads` runs what blocks: SQL and password hashing; it must be bounded.

    `engine` needs to read only. `rebuild` asks for a projection to be built anew; False when it has not begun yet. `unserved` are
    the shards that an owner in this process cannot serve.
    """

    sender: CommandSender
    outcomes: Outcomes
    reader: EventReader
    engine: Engine
    vault: Vault
    sessions: SessionStore
    sign_in_limit: SignInLimit
    limits: Buckets
    wakeups: Wakeups
    clock: Clock
    ids: Ids
    keys: ApiKeys
    tokens: Tokens
    threads: Executor
    rebuild: Callable[[str], Awaitable[bool]]
    provider: IdentityProvider | None = None
    unserved: Callable[[], Sequence[UnservedShard]] = tuple
    drain: Drain = field(default_factory=Drain)
    settings: ApiSettings = field(default_factory=ApiSettings)

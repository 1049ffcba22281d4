"""Which adapter stands behind which port? Decided here, once, from the settings."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from api.first_start import has_users
from api.rate_limit import Buckets, SharedBuckets
from api.sessions import SessionStore
from api.sign_in_limit import SignInLimit
from infra.kafka.log import KafkaLog
from infra.kafka.settings import KafkaLogSettings
from infra.memory.sessions import MemorySessions
from infra.memory.sign_in_attempts import MemoryAttempts
from infra.memory.wakeups import MemoryWakeups
from infra.sql.engine import create_all, open_engine, open_reader
from infra.sqlite.log import SqliteLog
from infra.vaults import master_key
from infra.vaults.key_ring import KeyRing
from infra.vaults.kv_vault import BadVaultAddress, KvSettings, KvVault
from infra.vaults.sealed_copy import holds_secrets
from infra.vaults.sql_vault import SqlVault
from infra.wiring.outside import SystemClock, SystemIds
from infra.wiring.settings import Settings
from schemas.log import CommandSender, EventReader, LogUnavailable, Outcomes, OwnedShards, RecordSender
from schemas.wakeups import Wakeups

EMBEDDED_SHARDS = 4
"""Shards of an embedded log: one process owns them all, so they only have to be enough to move to a cluster's habits."""


class Log(Protocol):
    """All ports of an opened log."""

    @property
    def sender(self) -> CommandSender:
        """Puts commands on a lane."""
        ...

    @property
    def outcomes(self) -> Outcomes:
        """Says what became of a command."""
        ...

    @property
    def reader(self) -> EventReader:
        """Reads what is committed."""
        ...

    @property
    def records(self) -> RecordSender:
        """Publishes finite records."""
        ...

    def owned_shards(self, instance: str) -> OwnedShards:
        """A new member of the owners."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What every role is made from."""

    settings: Settings
    log: Log
    writer: Engine
    reader: Engine
    ring: KeyRing | None
    """The master keys; None when the vault is an external one."""
    vault: SqlVault | KvVault
    sessions: SessionStore
    sign_in_limit: SignInLimit
    limits: Buckets
    wakeups: Wakeups
    clock: SystemClock
    ids: SystemIds


def kafka_settings(settings: Settings) -> KafkaLogSettings:
    """The Kafka log that the settings mean."""
    return KafkaLogSettings(
        bootstrap=settings.bootstrap,
        prefix=settings.log_prefix,
        partitions=settings.log_partitions,
        replication=settings.log_replication,
        instance=settings.instance_name,
    )


async def open_log(settings: Settings) -> Log:
    """The log. Raises `TopicsDiffer`, `FolderInUse`, `FolderUnsuitable` or `LogUnavailable`."""
    if settings.is_embedded:
        return await SqliteLog.open(settings.log_folder, EMBEDDED_SHARDS)
    return await KafkaLog.open(kafka_settings(settings))


class DatabaseUnavailable(Exception):
    """The database of the read models cannot be opened."""


class VaultLost(Exception):
    """The log tells of users and the vault holds nothing, not even a signing key: it is gone, or another database is asked."""


@asynccontextmanager
async def house(settings: Settings) -> AsyncIterator[House]:
    """Open everything the roles share; closed in the opposite order.

    Raises what `open_log` raises, `DatabaseUnavailable`, `BadMasterKey`, `BadVaultAddress`, `VaultLost`.
    """
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        log = await open_log(settings)
        stack.push_async_callback(log.close)
        writer = open_engine(settings.read_models_url)
        stack.callback(writer.dispose)
        reader = open_reader(settings.read_models_url)
        stack.callback(reader.dispose)
        ring, vault = await asyncio.to_thread(_open_vault, settings, writer, reader)
        stack.push_async_callback(vault.close)
        await _refuse_lost_vault(settings, log, writer)
        clock = SystemClock()
        sessions, sign_in_limit, wakeups, limits = await _session_adapters(settings, clock, stack)
        yield House(
            settings=settings,
            log=log,
            writer=writer,
            reader=reader,
            ring=ring,
            vault=vault,
            sessions=sessions,
            sign_in_limit=sign_in_limit,
            limits=limits,
            wakeups=wakeups,
            clock=clock,
            ids=SystemIds(),
        )


_USERS_WITHIN_S = 30.0


def shown_place(url: str) -> str:
    """Where a database is, for messages: nothing of its address that may be a secret."""
    parsed = make_url(url)
    return parsed.database or "" if not parsed.host else f"{parsed.host}/{parsed.database}"


async def _refuse_lost_vault(settings: Settings, log: Log, writer: Engine) -> None:
    """A vault begun anew would open none of the secrets that the log names, and let nobody sign in.

    A user's password is sealed before the first event of a user is in the log. So the vault is looked at again after the log:
    another role may have made the first administrator meanwhile.
    """

    async def holds_any() -> bool:
        return await asyncio.to_thread(_holds_secrets, writer)

    if settings.vault_url or await holds_any():
        return
    try:
        async with asyncio.timeout(_USERS_WITHIN_S):
            is_new = not await has_users(log.reader)
    except TimeoutError:
        raise LogUnavailable("the log does not say in time whether there are users") from None
    if is_new or await holds_any():
        return
    raise VaultLost(
        f"the log tells of users, and the vault in {shown_place(settings.read_models_url)} holds nothing: put the database back"
        " that was there, or restore a backup; read models are built anew from the log, secrets cannot be"
    )


def _open_vault(settings: Settings, writer: Engine, reader: Engine) -> tuple[KeyRing | None, SqlVault | KvVault]:
    try:
        create_all(writer)
        if settings.vault_url:
            if _holds_secrets(writer):
                raise BadVaultAddress("the database holds sealed secrets already: an external vault is for new installations")
            return None, KvVault(_kv_settings(settings))
        ring = key_ring(settings, writer)
        vault = SqlVault(writer, reader, ring)
        vault.create_tables()
        return ring, vault
    except SQLAlchemyError as error:
        raise DatabaseUnavailable(str(getattr(error, "orig", error))) from None


def _kv_settings(settings: Settings) -> KvSettings:
    token, secret_id = settings.vault_token, settings.vault_secret_id
    return KvSettings(
        url=settings.vault_url,
        mount=settings.vault_mount,
        folder=settings.vault_folder,
        namespace=settings.vault_namespace,
        token=token.get_secret_value() if token else "",
        role_id=settings.vault_role_id,
        secret_id=secret_id.get_secret_value() if secret_id else "",
    )


def key_ring(settings: Settings, writer: Engine) -> KeyRing:
    """The master keys that the settings mean. Raises `BadMasterKey`, `DatabaseUnavailable`."""
    given = settings.master_key
    if given is not None:
        return KeyRing(lambda: master_key.given(given.get_secret_value()))
    # The vault is asked first: who makes it and its key right now makes the key before the first secret.
    if _holds_secrets(writer) and not (settings.home / master_key.FILE).exists():
        raise master_key.BadMasterKey(
            f"the vault holds secrets whose master key is not here: set OPSCONDUCTOR_MASTER_KEY, or put it into"
            f" {settings.home / master_key.FILE} (mode 0600); a new one would open none of them"
        )
    master_key.kept_in(settings.home)
    return KeyRing(lambda: master_key.read(settings.home / master_key.FILE))


def _holds_secrets(writer: Engine) -> bool:
    try:
        return holds_secrets(writer)
    except SQLAlchemyError as error:
        raise DatabaseUnavailable(str(getattr(error, "orig", error))) from None


_Shared = tuple[SessionStore, SignInLimit, Wakeups, Buckets]


async def _session_adapters(settings: Settings, clock: SystemClock, stack: AsyncExitStack) -> _Shared:
    if not settings.redis_url:
        return MemorySessions(), SignInLimit(MemoryAttempts()), MemoryWakeups(), Buckets(settings.rates, clock.monotonic)
    from infra.redis.connection import connect  # Redis' client is only loaded where there is one: it takes long
    from infra.redis.sessions import RedisSessions
    from infra.redis.shared_limits import RedisLimits
    from infra.redis.sign_in_attempts import RedisAttempts
    from infra.redis.wakeups import RedisWakeups

    redis = connect(settings.redis_url)
    stack.push_async_callback(redis.aclose)
    wakeups = RedisWakeups(redis, settings.log_prefix)
    hearing = asyncio.create_task(wakeups.run())
    stack.callback(hearing.cancel)
    limits = SharedBuckets(settings.rates, clock.monotonic)
    sharing = asyncio.create_task(RedisLimits(redis, limits, settings.log_prefix).run())
    stack.callback(sharing.cancel)
    attempts = SignInLimit(RedisAttempts(redis, settings.log_prefix), MemoryAttempts())
    return RedisSessions(redis, settings.log_prefix), attempts, wakeups, limits

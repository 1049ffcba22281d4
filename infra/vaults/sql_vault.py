"""Where are sealed secrets kept? In one table, on SQLite or Postgres, under the master key that is in force."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from sqlalchemy import Connection, Engine, delete, select, text
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import SQLAlchemyError

from infra.vaults.key_ring import KeyRing
from infra.vaults.rotation import settle_keys
from infra.vaults.sealed import MasterKeyAbsent, Sealed, opened, seal
from infra.vaults.tables import hold_in_force, metadata, notes, secrets, unnamed
from infra.vaults.traces import Traces, zeroing
from schemas.vault import SecretUnavailable, VaultError

T = TypeVar("T")

_WITHIN_S, _SHREDS_WITHIN_S = 10.0, 60.0

_CREATION_LOCK = 7_100_003
"""The Postgres advisory lock under which the table is created; any number that is ours."""


class SqlVault:
    """A vault in a table. Every call ends within ten seconds, with `VaultError` when the database does not answer.

    `writer` and `reader` are engines on the same database; on SQLite only the first may write.
    """

    def __init__(self, writer: Engine, reader: Engine, ring: KeyRing) -> None:
        self._writer, self._reader, self._ring = writer, reader, ring
        self._traces = Traces(writer)
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="vault")

    def create_tables(self) -> None:
        """Make the tables if they are not there; any number of processes may do so at once. Blocks; called once at start.

        Raises `BadMasterKey` when a key that is needed is not in the ring, or is another one.
        """
        with self._writer.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CREATION_LOCK})
            metadata.create_all(connection)
            notes.create_all(connection)
            settle_keys(connection, self._ring)

    async def seal(self, secret_id: str, bound_to: str, secret: bytes) -> None:
        """Keep `secret` under `secret_id`; when there is one under this id already, it stays, and is unnamed from now on only."""
        insert = postgres_insert if self._writer.dialect.name == "postgresql" else sqlite_insert

        def kept(connection: Connection) -> None:
            version = hold_in_force(connection)
            if version is None:
                raise MasterKeyAbsent("no master key is in force")
            new = seal(self._ring.holding(version), version, secret_id, bound_to, secret)
            row = {"secret_id": secret_id, "key_version": version, "wrapped": new.wrapped, "sealed": new.sealed}
            connection.execute(delete(unnamed).where(unnamed.c.secret_id == secret_id))  # first: who sweeps holds it, too
            connection.execute(insert(secrets).values(row).on_conflict_do_nothing())

        await self._do(self._writer, kept)

    async def open(self, secret_id: str, bound_to: str) -> bytes:
        """The secret in clear. Raises `SecretUnavailable`, and `MasterKeyAbsent` while its master key is not known here."""
        query = select(secrets).where(secrets.c.secret_id == secret_id)

        def clear(connection: Connection) -> bytes:
            row = connection.execute(query).one_or_none()
            if row is None:
                raise SecretUnavailable(f"there is no secret {secret_id}")
            kept = Sealed(row.key_version, row.wrapped, row.sealed)
            return opened(self._ring.holding(row.key_version), secret_id, bound_to, kept)

        return await self._do(self._reader, clear)

    async def open_many(self, wanted: Mapping[str, str]) -> dict[str, bytes]:
        """Several secrets in clear, asked for at once; what does not open, or not yet, is left out."""
        query = select(secrets).where(secrets.c.secret_id.in_(list(wanted)))

        def clear(connection: Connection) -> dict[str, bytes]:
            found: dict[str, bytes] = {}
            for row in connection.execute(query):
                kept, ident = Sealed(row.key_version, row.wrapped, row.sealed), row.secret_id
                with suppress(SecretUnavailable, MasterKeyAbsent):
                    found[ident] = opened(self._ring.holding(row.key_version), ident, wanted[ident], kept)
            return found

        return await self._do(self._reader, clear)

    async def destroy(self, secret_id: str) -> None:
        """Forget a secret and its key; nothing happens when there is none."""
        statement = delete(secrets).where(secrets.c.secret_id == secret_id)

        def gone(connection: Connection) -> None:
            with zeroing(connection):
                connection.execute(statement)

        await self._do(self._writer, gone)

    async def shred(self, secret_ids: Collection[str]) -> None:
        """Destroy secrets so that no copy of their rows is left in the database's files (`infra.vaults.traces`)."""
        await self._in_thread(lambda: self._traces.shred(list(secret_ids)), _SHREDS_WITHIN_S)

    async def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _do(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        def done() -> T:
            with engine.begin() as connection:
                return work(connection)

        return await self._in_thread(done, _WITHIN_S)

    async def _in_thread(self, work: Callable[[], T], within_s: float) -> T:
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (SQLAlchemyError, TimeoutError) as error:
            # The database's own message may quote the statement's values.
            raise VaultError(type(error).__name__) from None

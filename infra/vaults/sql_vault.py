"""Where are sealed secrets kept? In one table, on SQLite or Postgres. It cannot be rebuilt like a read model: it is backed up."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Column, Connection, Engine, Integer, LargeBinary, MetaData, String, Table, delete, select, text
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import SQLAlchemyError

from infra.vaults.sealed import MasterKeys, Sealed, opened, seal
from schemas.vault import SecretUnavailable, VaultError

metadata = MetaData()

secrets = Table(
    "vault_secrets",
    metadata,
    Column("secret_id", String(80), primary_key=True),
    Column("key_version", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

T = TypeVar("T")

_WITHIN_S = 10.0

_CREATION_LOCK = 7_100_003
"""The Postgres advisory lock under which the table is created; any number that is ours."""


class SqlVault:
    """A vault in a table. Every call ends within ten seconds, with `VaultError` when the database does not answer.

    `writer` and `reader` are engines on the same database; on SQLite only the first may write.
    """

    def __init__(self, writer: Engine, reader: Engine, keys: MasterKeys) -> None:
        self._writer, self._reader, self._keys = writer, reader, keys
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="vault")

    def create_table(self) -> None:
        """Make the table if it is not there; any number of processes may do so at once. Blocks; called once at start."""
        with self._writer.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CREATION_LOCK})
            metadata.create_all(connection)

    async def seal(self, secret_id: str, bound_to: str, secret: bytes) -> None:
        """Keep `secret` under `secret_id`; when there is one under this id already, it stays."""
        kept = seal(self._keys, secret_id, bound_to, secret)
        row = {"secret_id": secret_id, "key_version": kept.key_version, "wrapped": kept.wrapped, "sealed": kept.sealed}
        insert = postgres_insert if self._writer.dialect.name == "postgresql" else sqlite_insert
        await self._do(self._writer, lambda connection: connection.execute(insert(secrets).values(row).on_conflict_do_nothing()))

    async def open(self, secret_id: str, bound_to: str) -> bytes:
        """The secret in clear. Raises `SecretUnavailable`."""
        query = select(secrets).where(secrets.c.secret_id == secret_id)
        row = await self._do(self._reader, lambda connection: connection.execute(query).one_or_none())
        if row is None:
            raise SecretUnavailable(f"there is no secret {secret_id}")
        return opened(self._keys, secret_id, bound_to, Sealed(row.key_version, row.wrapped, row.sealed))

    async def destroy(self, secret_id: str) -> None:
        """Forget a secret and its key; nothing happens when there is none."""
        statement = delete(secrets).where(secrets.c.secret_id == secret_id)
        await self._do(self._writer, lambda connection: connection.execute(statement))

    async def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _do(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        def done() -> T:
            with engine.begin() as connection:
                return work(connection)

        try:
            async with asyncio.timeout(_WITHIN_S):
                return await asyncio.get_running_loop().run_in_executor(self._threads, done)
        except (SQLAlchemyError, TimeoutError) as error:
            # The database's own message may quote the statement's values.
            raise VaultError(type(error).__name__) from None

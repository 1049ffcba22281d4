"""How does a projection's transaction reach the database? In a thread of its own, on one connection, bounded in time.

On Postgres the connection is kept and holds an advisory lock: of several processes that run the projections, one does the work
and the others stand by. On SQLite it is the file's only writing connection, borrowed for each transaction.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from infra.sql.engine import STATEMENT_TIMEOUT_S
from projections.read_store import StoreRefused, StoreUnavailable

T = TypeVar("T")

_PROJECTING_LOCK = 7_100_002
"""The Postgres advisory lock of the process that projects."""

_LONGEST_TRANSACTION_S = 4.0 * STATEMENT_TIMEOUT_S


class SqlReadStore:
    """Runs transactions on the writing engine of the read models (see `infra.sql.engine.open_engine`)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = _new_thread()
        self._kept: Connection | None = None

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction, see `ReadStore`; after two minutes the thread is given up and replaced."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)
        done, _ = await asyncio.wait({running}, timeout=_LONGEST_TRANSACTION_S)
        if not done:
            self._thread.shutdown(wait=False)
            self._thread, self._kept = _new_thread(), None
            raise StoreUnavailable(f"the database has been silent for {_LONGEST_TRANSACTION_S:.0f} s")
        return running.result()

    async def close(self) -> None:
        """Let the connection go, once the transaction under way has ended."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._release)
        self._thread.shutdown(wait=False)

    def _run(self, work: Callable[[Connection], T]) -> T:
        try:
            return self._transact(work)
        except SQLAlchemyError as error:
            if _may_pass(error):
                self._release()
                raise StoreUnavailable(_said(error)) from error
            raise StoreRefused(_said(error)) from error

    def _transact(self, work: Callable[[Connection], T]) -> T:
        if self._engine.dialect.name == "sqlite":
            with self._engine.begin() as connection:
                return work(connection)
        connection = self._kept = self._kept or self._reserve()
        with connection.begin():
            return work(connection)

    def _reserve(self) -> Connection:
        connection = self._engine.connect()
        with connection.begin():
            alone = connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _PROJECTING_LOCK}).scalar()
        if not alone:
            connection.close()
            raise StoreUnavailable("another process runs the projections; this one stands by")
        return connection

    def _release(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.invalidate()  # a session that may still hold the lock must not go back to the pool
            kept.close()


def _new_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="projections")


_PASSING_STATES = ("08", "25", "40", "53", "55", "57", "58")
"""Classes of SQLSTATE: connection, read-only after a fail-over, deadlock, resources, locks, operator, system."""


def _may_pass(error: SQLAlchemyError) -> bool:
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_PASSING_STATES)
    plain_sql_error = getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return error.connection_invalidated or (isinstance(error, OperationalError | InterfaceError) and not plain_sql_error)


def _said(error: SQLAlchemyError) -> str:
    return " ".join(str(getattr(error, "orig", None) or error).split())

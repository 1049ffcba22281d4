"""Implements StateStores in SQLite: one file a shard below one folder, which only one process may use at a time.

A file is thrown away rather than repaired. It is written with `synchronous=NORMAL`: a power cut may lose the newest saves, but
never part of one, and what is lost is replayed from the log.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import orjson

from commands.state_store import REMEMBERED, Changes, Found, Kept, Mark, Needs, StateStoreFailed, StateStoreInUse
from infra.sqlite.many_rows import insert_rows
from infra.sqlite.one_thread import OneThread
from schemas.position import Partition

T = TypeVar("T")

_SCHEMA = (
    "CREATE TABLE fingerprint (text TEXT NOT NULL)",
    "CREATE TABLE mark (body BLOB NOT NULL)",
    "CREATE TABLE streams (stream TEXT PRIMARY KEY, version INTEGER NOT NULL, state BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE rosters (key TEXT PRIMARY KEY, ids BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE outcomes (number INTEGER PRIMARY KEY, command BLOB NOT NULL UNIQUE, body BLOB NOT NULL)",
)
_ASKED = 500
"""The most values in one IN (...)."""


class SqliteStateStore:
    """The snapshots of one shard, in one file. Every call runs on one thread, so a cancelled one still ends before the next."""

    def __init__(self, file: Path, fingerprint: str, window: int, thread: OneThread) -> None:
        self._file, self._fingerprint, self._window, self._thread = file, fingerprint, window, thread
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the file, or begin it anew. Raises `StateStoreFailed`."""
        await self._run(self._open)

    async def mark(self) -> Mark:
        """How far the snapshots reach; an empty mark when there are none."""
        return await self._run(self._read_mark)

    async def load(self, needs: Needs) -> Found:
        """Look up what is needed."""
        return await self._run(partial(self._load, needs))

    async def save(self, changes: Changes) -> None:
        """Keep the changes and their mark in one SQL transaction."""
        await self._run(partial(self._save, changes))

    async def discard(self) -> None:
        """Delete the file and begin it anew."""
        await self._run(self._begin_anew)

    async def close(self) -> None:
        """Close the file."""
        await self._run(self._close)

    async def _run(self, call: Callable[[], T]) -> T:
        try:
            return await self._thread.run(call)
        except (sqlite3.Error, OSError, ValueError) as error:
            raise StateStoreFailed(f"{self._file}: {error}") from error

    # --- everything below runs on the thread --------------------------------------------------------------------------

    def _open(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._connect()
            if self._is_ours():
                return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise StateStoreInUse(f"{self._file} is in use by another process") from error
        except sqlite3.DatabaseError:
            pass  # It is no database, or a broken one: it is begun anew.
        self._begin_anew()

    def _connect(self) -> sqlite3.Connection:
        self._file.touch(mode=0o600)
        connection = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False, timeout=1, cached_statements=256)
        self._connection = connection
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=NORMAL", "cache_size=-2000"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        return connection

    def _is_ours(self) -> bool:
        tables = self._open_connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'fingerprint'").fetchone()
        return tables == (1,) and self._rows("SELECT text FROM fingerprint") == [(self._fingerprint,)]

    def _begin_anew(self) -> None:
        self._close()
        for suffix in ("", "-wal", "-shm"):
            self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
        connection = self._connect()
        with _Transaction(connection):
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT INTO fingerprint VALUES (?)", (self._fingerprint,))

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StateStoreFailed(f"{self._file} is closed")
        return self._connection

    def _rows(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        return self._open_connection.execute(statement, values).fetchall()

    def _read_mark(self) -> Mark:
        found = self._rows("SELECT body FROM mark")
        if not found:
            return Mark()
        body = orjson.loads(str(found[0][0]))
        return Mark({Partition(topic, shard): offset for topic, shard, offset in body["positions"]}, body["heads"])

    def _load(self, needs: Needs) -> Found:
        asked = self._asked
        return Found(
            {s: Kept(v, b) for s, v, b in asked("SELECT stream, version, state FROM streams WHERE stream", needs.streams)},
            dict(asked("SELECT key, ids FROM rosters WHERE key", needs.rosters)),
            {
                UUID(bytes=i): body
                for i, body in asked("SELECT command, body FROM outcomes WHERE command", [i.bytes for i in needs.outcomes])
            },
        )

    def _asked(self, select: str, values: Sequence[object]) -> Iterator[Any]:
        for start in range(0, len(values), _ASKED):
            part = values[start : start + _ASKED]
            yield from self._rows(f"{select} IN ({','.join('?' * len(part))})", part)

    def _save(self, changes: Changes) -> None:
        connection = self._open_connection
        mark = {"positions": [[*p, offset] for p, offset in changes.mark.positions.items()], "heads": dict(changes.mark.heads)}
        with _Transaction(connection):
            streams = [(stream, kept.version, kept.state) for stream, kept in changes.streams.items()]
            insert_rows(connection, "INSERT OR REPLACE INTO streams VALUES", streams)
            insert_rows(connection, "INSERT OR REPLACE INTO rosters VALUES", list(changes.rosters.items()))
            outcomes = [(ident.bytes, body) for ident, body in changes.outcomes.items()]
            insert_rows(connection, "INSERT OR IGNORE INTO outcomes (command, body) VALUES", outcomes)
            connection.execute("DELETE FROM outcomes WHERE number <= (SELECT max(number) FROM outcomes) - ?", (self._window,))
            connection.execute("DELETE FROM mark")
            connection.execute("INSERT INTO mark VALUES (?)", (orjson.dumps(mark).decode(),))


class _Transaction:
    """BEGIN … COMMIT, or ROLLBACK when anything is raised."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")


class SqliteStateStores:
    """The stores below `folder`. `fingerprint` tells by which software they can be read (`commands.state_form.fingerprint`)."""

    def __init__(self, folder: Path, fingerprint: str, window: int = REMEMBERED) -> None:
        self._folder, self._fingerprint, self._window = folder, fingerprint, window
        self._thread = OneThread("state-store")

    async def open(self, shard: int) -> SqliteStateStore:
        """The shard's store. Raises `StateStoreInUse` when another process has it open."""
        store = SqliteStateStore(self._folder / f"shard-{shard}.sqlite", self._fingerprint, self._window, self._thread)
        await store.open()
        return store

    async def close(self) -> None:
        """End the thread; the files stay."""
        await self._thread.close()

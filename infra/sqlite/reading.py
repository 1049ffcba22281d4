"""How is the file read, without holding up the event loop or the writer?

Readers have connections of their own, on threads of their own. Every read is one short statement, so no old snapshot keeps the
write-ahead log from starting over (HAZARDS R51).
"""

import asyncio
import queue
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from infra.sqlite.connections import open_reader
from infra.sqlite.layout import Layout, record_of
from schemas.log import LogUnavailable, Recorded, Undecodable
from schemas.outcome import Outcome
from schemas.position import Partition, Position
from schemas.topics import OUTCOMES
from schemas.wire import Body, decode

CONNECTIONS = 3

MAX_WAITING = 2_000
"""Reads that may wait for a connection; beyond it the log is unavailable."""

MAX_READ_BYTES = 8 * 1024 * 1024
"""A read ends early once it holds as much."""

MOST_KEPT = 1_000
MOST_KEPT_BYTES = 4_096
"""How many decoded records are kept for others who read the same, and how long their values may be."""

Read = TypeVar("Read")


class ReadPool:
    """Runs reads on a few threads, each with a read-only connection."""

    def __init__(self, folder: Path) -> None:
        self._connections = [open_reader(folder) for _ in range(CONNECTIONS)]
        self._free: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        for connection in self._connections:
            self._free.put(connection)
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="sqlite-log-reader")
        self._waiting = 0
        self._closed = False

    async def run(self, read: Callable[[sqlite3.Connection], Read]) -> Read:
        """What `read` makes of a connection. Raises `LogUnavailable`."""
        if self._closed or self._waiting >= MAX_WAITING:
            raise LogUnavailable("the log is closed" if self._closed else f"{self._waiting} reads wait already")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._with_connection, read)
        except sqlite3.Error as error:
            raise LogUnavailable(f"the log cannot be read: {error}") from error
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the threads and close the connections."""
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        for connection in self._connections:
            connection.close()

    def _with_connection(self, read: Callable[[sqlite3.Connection], Read]) -> Read:
        connection = self._free.get()
        try:
            return read(connection)
        finally:
            self._free.put(connection)


@dataclass(frozen=True, slots=True)
class Stretch:
    """The records of a partition from one offset to before another."""

    partition: Partition
    start: int
    end: int


def _decode(topic: str, shard: int, shards: int, key: bytes, value: bytes, headers: bytes) -> Body | Undecodable:
    return decode(topic, shard, shards, record_of(key, value, headers))


decoded = lru_cache(maxsize=MOST_KEPT)(_decode)
"""Several follow the log at the same time: what the same bytes say is found out for the first of them."""


def read_stretch(connection: sqlite3.Connection, layout: Layout, stretch: Stretch, limit: int) -> Sequence[Recorded]:
    """Up to `limit` records of one stretch."""
    partition = stretch.partition
    first = layout.first_id(partition)
    rows = connection.execute(
        "SELECT id, key, value, headers FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        (first + stretch.start, first + stretch.end, limit),
    )
    found: list[Recorded] = []
    size = 0
    for row, key, value, headers in rows:
        read = decoded if len(value) <= MOST_KEPT_BYTES else _decode
        body = read(*partition, layout.shards, key, value, headers)
        found.append(Recorded(Position(*partition, row - first), body))
        size += len(value)
        if size > MAX_READ_BYTES:
            break
    rows.close()
    return found


def read_on(connection: sqlite3.Connection, layout: Layout, stretches: Sequence[Stretch], limit: int) -> Sequence[Recorded]:
    """Up to `limit` records of several stretches, one after the other."""
    found: list[Recorded] = []
    for stretch in stretches:
        if len(found) >= limit:
            break
        found += read_stretch(connection, layout, stretch, limit - len(found))
    return found


def find_outcome(connection: sqlite3.Connection, layout: Layout, command_id: UUID) -> Outcome | None:
    """The outcome remembered under a command's id."""
    row = connection.execute(
        "SELECT id, key, value, headers FROM outcome_ids JOIN records ON id = record WHERE command_id = ?",
        (command_id.bytes,),
    ).fetchone()
    if row is None:
        return None
    shard = next(s for s in range(layout.shards) if row[0] < layout.end_id(Partition(OUTCOMES, s)))
    body = decode(OUTCOMES, shard, layout.shards, record_of(*row[1:]))
    return body if isinstance(body, Outcome) else None


def ends_in(connection: sqlite3.Connection, layout: Layout, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
    """The offset after the last record of each partition, as the file says."""
    ends = {}
    for partition in partitions:
        first = layout.first_id(partition)
        newest = "SELECT max(id) FROM records WHERE id >= ? AND id < ?"
        (last,) = connection.execute(newest, (first, layout.end_id(partition))).fetchone()
        ends[partition] = 0 if last is None else last - first + 1
    return ends

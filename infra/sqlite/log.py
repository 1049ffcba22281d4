"""The log of the embedded deployment: one SQLite file in a folder that one process holds.

A write is acknowledged when its transaction is on the disk (WAL, `synchronous=FULL`); those that wait at the same time
share one. Everything blocking is done on threads of its own; the objects here belong to the event loop in which
the log was opened.
"""

import asyncio
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from uuid import UUID

from infra.sqlite.checkpoints import Checkpoints
from infra.sqlite.connections import LOG_FILE, check_shards, create, layout_of, open_reader, open_writer
from infra.sqlite.feed import LiveTail, PolledTail, SqliteReader
from infra.sqlite.layout import Layout, Row
from infra.sqlite.lock import FolderLock, FolderUnsuitable, refuse_network_file_system
from infra.sqlite.newest import Newest
from infra.sqlite.owned import LogParts, Members, SqliteOwnedShards
from infra.sqlite.pruning import Pruning
from infra.sqlite.reading import ReadPool, find_outcome
from infra.sqlite.records import encoded
from infra.sqlite.transaction import Append
from infra.sqlite.waiting import Waiting
from infra.sqlite.writer import Writer
from schemas.actor import PEOPLE_KINDS
from schemas.command_envelope import CommandEnvelope
from schemas.heartbeat import Heartbeat
from schemas.outcome import Outcome
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.run_output import OutputChunk
from schemas.topics import COMMANDS_PEOPLE, COMMANDS_SYSTEM

MOST_RECENT = 10_000
"""Commands sent from here whose outcomes are kept at hand."""


class SqliteLog:
    """All ports of the log on one folder. Made by `open`."""

    def __init__(
        self, folder: Path, lock: FolderLock, connection: sqlite3.Connection, layout: Layout, clock: Callable[[], float]
    ) -> None:
        self.checkpoints = Checkpoints(folder / LOG_FILE)
        chores = (self.checkpoints, Pruning(layout, clock))
        self._lock = lock
        self.layout = layout
        self._waiting = Waiting()
        self._pool = ReadPool(folder)
        self.writer = Writer(connection, layout, clock, self._on_commit, chores)
        self._newest = Newest(layout)
        self._committed = {p: i - layout.first_id(p) for p, i in self.writer.standing.next_id.items()}
        self._members = Members()
        self.outcomes = SqliteOutcomes(self._pool, layout)
        self.sender = SqliteSender(self.writer, layout, self.outcomes)
        self.records = SqliteRecords(self.writer)
        self.reader = SqliteReader(self._pool, layout, LiveTail(self.writer, self._committed, self._waiting, self._newest))

    @staticmethod
    async def open(folder: Path, shards: int, clock: Callable[[], float] = time.time) -> "SqliteLog":
        """The log in `folder`, created with `shards` shards if there is none; `clock` (Unix seconds) judges retention.

        Raises `FolderInUse` naming the process that has it, or `FolderUnsuitable`.
        """
        lock, connection, layout = await asyncio.to_thread(_prepare, folder, shards)
        try:
            return SqliteLog(folder, lock, connection, layout, clock)
        except sqlite3.Error as error:
            connection.close()
            lock.release()
            raise _unusable(folder, error) from error

    @staticmethod
    async def read_only(folder: Path) -> "SqliteReadOnlyLog":
        """The log in `folder` for reading, also while another process writes it. Raises `FolderUnsuitable`."""
        return SqliteReadOnlyLog(folder, await asyncio.to_thread(_layout_for_reading, folder))

    def owned_shards(self, instance: str) -> SqliteOwnedShards:
        """A new member that owns every shard at once; members before it own nothing until it closes."""
        parts = LogParts(self.layout, self.writer, self._pool, self._committed, self._waiting, self._newest)
        return SqliteOwnedShards(parts, self._members)

    async def close(self) -> None:
        """Write what waits, close the file and give the folder free."""
        await self._pool.close()
        await self.writer.close()
        self._lock.release()

    def _on_commit(
        self, next_ids: Mapping[Partition, int], outcomes: Sequence[Outcome], rows: Sequence[tuple[Partition, Row]]
    ) -> None:
        self._newest.committed(next_ids, rows)
        for partition, row in next_ids.items():
            self._committed[partition] = row - self.layout.first_id(partition)
        self._waiting.wake(next_ids)
        self.outcomes.known(outcomes)


class SqliteReadOnlyLog:
    """The reader's port on a folder that another process may be writing."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self._pool = ReadPool(folder)
        self.reader = SqliteReader(self._pool, layout, PolledTail(self._pool, layout))

    async def close(self) -> None:
        """Close the file."""
        await self._pool.close()


class SqliteSender:
    """Puts commands on a lane."""

    def __init__(self, writer: Writer, layout: Layout, outcomes: "SqliteOutcomes") -> None:
        self._writer = writer
        self._layout = layout
        self._outcomes = outcomes

    async def send(self, command: CommandEnvelope) -> None:
        """Return once the command is on the disk. Raises `LogUnavailable`, `ResultUnknown` or `RecordTooLarge`."""
        record = encoded(command)
        lane = COMMANDS_PEOPLE if command.actor.kind in PEOPLE_KINDS else COMMANDS_SYSTEM
        partition = Partition(lane, shard_of(command.stream, self._layout.shards))
        self._outcomes.expect(command.command_id)
        try:
            await self._writer.submit(Append(partition, (record,)), record.size)
        except BaseException:
            self._outcomes.expect_no_longer(command.command_id)
            raise


class SqliteRecords:
    """Publishes finite records that are no events."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def publish(self, partition: Partition, records: Sequence[OutputChunk | Heartbeat]) -> int:
        """Append in order; the offset after the last. Raises `LogUnavailable`, `ResultUnknown`, `RecordTooLarge`."""
        wire = [encoded(record) for record in records]
        end: int = await self._writer.submit(Append(partition, wire), sum(record.size for record in wire))
        return end


class SqliteOutcomes:
    """Says what became of a command; remembers as long as the topic `outcomes` holds the record (7 days)."""

    def __init__(self, pool: ReadPool, layout: Layout) -> None:
        self._pool = pool
        self._layout = layout
        self._awaited: dict[UUID, set[asyncio.Future[Outcome]]] = {}
        self._recent: OrderedDict[UUID, Outcome | None] = OrderedDict()

    def expect(self, command_id: UUID) -> None:
        """The command is being sent from here: its outcome will be told (`known`), so nobody has to look for it on the disk."""
        self._recent.setdefault(command_id)
        while len(self._recent) > MOST_RECENT:
            self._recent.popitem(last=False)

    def expect_no_longer(self, command_id: UUID) -> None:
        """It was not sent, or nobody knows."""
        if self._recent.get(command_id) is None:
            self._recent.pop(command_id, None)

    async def wait(self, command_id: UUID, within_s: float) -> Outcome | None:
        """The outcome as soon as it is known, or None after `within_s` seconds. Raises `LogUnavailable`."""
        if recent := self._recent.get(command_id):
            return recent
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        future: asyncio.Future[Outcome] = loop.create_future()
        # Registered before the look-up, so that no commit falls between the two.
        self._awaited.setdefault(command_id, set()).add(future)
        try:
            if command_id not in self._recent and (found := await self.find(command_id)):
                return found
            async with asyncio.timeout_at(deadline):
                return await future
        except TimeoutError:
            # After a commit whose result was in doubt an outcome is there that was never told.
            self.expect_no_longer(command_id)
            return await self.find(command_id)
        finally:
            self._awaited[command_id].discard(future)
            if not self._awaited[command_id]:
                del self._awaited[command_id]

    async def find(self, command_id: UUID) -> Outcome | None:
        """The outcome if it is remembered. Raises `LogUnavailable`."""
        return await self._pool.run(partial(find_outcome, layout=self._layout, command_id=command_id))

    def known(self, outcomes: Sequence[Outcome]) -> None:
        """Tell those who wait what has just been committed."""
        for outcome in outcomes:
            if outcome.command_id in self._recent:
                self._recent[outcome.command_id] = self._recent[outcome.command_id] or outcome
            for future in self._awaited.get(outcome.command_id, ()):
                if not future.done():
                    future.set_result(outcome)


def _prepare(folder: Path, shards: int) -> tuple[FolderLock, sqlite3.Connection, Layout]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_network_file_system(folder)
    lock = FolderLock(folder)
    try:
        connection = open_writer(folder)
        try:
            create(connection, shards)
            layout = layout_of(connection)
            check_shards(layout, shards)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        lock.release()
        raise _unusable(folder, error) from error
    except BaseException:
        lock.release()
        raise
    return lock, connection, layout


def _unusable(folder: Path, error: sqlite3.Error) -> FolderUnsuitable:
    return FolderUnsuitable(f"{folder / LOG_FILE} cannot be used: {error}")


def _layout_for_reading(folder: Path) -> Layout:
    if not (folder / LOG_FILE).exists():
        raise FolderUnsuitable(f"there is no log in {folder}")
    connection = open_reader(folder)
    try:
        return layout_of(connection)
    finally:
        connection.close()

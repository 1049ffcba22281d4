"""What goes into one SQL transaction, and in which order is it decided?

The writer puts the requests that wait at the same moment into one transaction (group commit). A request first checks, then
appends: once it has appended it cannot fail alone, only with the whole group.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from infra.sqlite.layout import Layout, Row
from infra.sqlite.many_rows import insert_rows
from infra.sqlite.records import Stored
from schemas.log import OwnershipLost
from schemas.outcome import Outcome
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.topics import COMMANDS_PEOPLE, COMMANDS_SYSTEM, OUTCOMES


@dataclass(slots=True)
class Standing:
    """What the writer knows between two transactions: each partition's next id and the lanes' consumed ids."""

    next_id: dict[Partition, int]
    consumed: dict[Partition, int]


def standing_in(connection: sqlite3.Connection, layout: Layout) -> Standing:
    """What the file says."""
    newest = "SELECT max(id) FROM records WHERE id >= ? AND id < ?"
    next_id = {}
    for partition in layout.partitions():
        first = layout.first_id(partition)
        (last,) = connection.execute(newest, (first, layout.end_id(partition))).fetchone()
        next_id[partition] = first if last is None else last + 1
    kept = dict(connection.execute("SELECT partition, next FROM consumed"))
    lanes = [p for p in layout.partitions() if p.topic in (COMMANDS_PEOPLE, COMMANDS_SYSTEM)]
    consumed = {lane: kept.get(layout.first_id(lane), layout.first_id(lane)) for lane in lanes}
    return Standing(next_id, consumed)


@dataclass(slots=True)
class Transaction:
    """The rows of one transaction in the making; `next_id` and `consumed` are what it changes."""

    layout: Layout
    standing: Standing
    now_ms: int
    rows: list[tuple[Partition, Row]] = field(default_factory=list)
    outcome_ids: list[tuple[bytes, int]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    next_id: dict[Partition, int] = field(default_factory=dict)
    consumed: dict[Partition, int] = field(default_factory=dict)
    size: int = 0

    def append(self, partition: Partition, record: Stored) -> int:
        """Append a record; its offset."""
        return self._append(partition, record) - self.layout.first_id(partition)

    def append_outcome(self, outcome: Outcome, record: Stored) -> None:
        """Append an outcome and remember it under its command."""
        row = self._append(Partition(OUTCOMES, shard_of(outcome.stream, self.layout.shards)), record)
        self.outcome_ids.append((outcome.command_id.bytes, row))
        self.outcomes.append(outcome)

    def end(self, partition: Partition) -> int:
        """The offset after the partition's last record as of here."""
        return self._next(partition) - self.layout.first_id(partition)

    def consumed_to(self, lane: Partition) -> int:
        """The id up to which a lane is consumed as of here."""
        return self.consumed.get(lane, self.standing.consumed[lane])

    def write(self, connection: sqlite3.Connection) -> None:
        """Bring everything into the open SQL transaction."""
        insert_rows(connection, "INSERT INTO records VALUES", [row for _, row in self.rows])
        insert_rows(connection, "INSERT OR IGNORE INTO outcome_ids VALUES", self.outcome_ids)
        if self.consumed:
            moved = [(self.layout.first_id(lane), to) for lane, to in self.consumed.items()]
            connection.executemany("INSERT OR REPLACE INTO consumed VALUES (?, ?)", moved)

    def settle(self) -> None:
        """Make it the new standing, once it is committed."""
        self.standing.next_id.update(self.next_id)
        self.standing.consumed.update(self.consumed)

    def _next(self, partition: Partition) -> int:
        return self.next_id.get(partition, self.standing.next_id[partition])

    def _append(self, partition: Partition, record: Stored) -> int:
        row = self._next(partition)
        self.rows.append((partition, (row, record.key, record.value, record.headers, self.now_ms)))
        self.next_id[partition] = row + 1
        self.size += record.size
        return row


class Request(Protocol):
    """Something that waits for its transaction."""

    def apply(self, transaction: Transaction) -> object:
        """Check, then append; what the caller gets once the transaction is durable. Runs on the writer's thread.

        A `LogError` is for this request alone and must be raised before anything is appended.
        """
        ...


@dataclass(frozen=True, slots=True)
class Append:
    """Records for one partition; gives the offset after the last."""

    partition: Partition
    records: Sequence[Stored]

    def apply(self, transaction: Transaction) -> int:
        """Append them all."""
        for record in self.records:
            transaction.append(self.partition, record)
        return transaction.end(self.partition)


@dataclass(frozen=True, slots=True)
class Decision:
    """An owner's batch: what it appends, and the lane positions it moves from where the owner took them to where they go."""

    events: Sequence[tuple[Partition, Stored]]
    outcomes: Sequence[tuple[Outcome, Stored]]
    moved: Mapping[Partition, tuple[int, int]]

    def apply(self, transaction: Transaction) -> Sequence[int]:
        """Append all of it; the events' offsets. Raises `OwnershipLost`."""
        for lane, (start, _) in self.moved.items():
            if transaction.consumed_to(lane) != start:
                raise OwnershipLost(f"{lane.topic}/{lane.shard} was consumed by another batch")
        offsets = [transaction.append(partition, record) for partition, record in self.events]
        for outcome, record in self.outcomes:
            transaction.append_outcome(outcome, record)
        transaction.consumed.update({lane: to for lane, (_, to) in self.moved.items()})
        return offsets


@dataclass(frozen=True, slots=True)
class Consumed:
    """How far is the owner? Asked by a new one: every decision that was queued before it is decided by then."""

    def apply(self, transaction: Transaction) -> Mapping[Partition, int]:
        """The ids up to which the lanes are consumed."""
        return {lane: transaction.consumed_to(lane) for lane in transaction.standing.consumed}


@dataclass(frozen=True, slots=True)
class Barrier:
    """Nothing to write: done when everything that was asked for before it is decided."""

    def apply(self, transaction: Transaction) -> None:
        """Append nothing."""

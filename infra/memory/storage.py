"""What does the memory log hold, and which of it may be read?

As in Kafka, a transaction's records have their offsets before it is decided, an aborted one's offsets stay used, and every
transaction leaves a marker behind in each partition it touched: offsets are not dense, and the last record's offset plus one
is not the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from schemas.log import Undecodable
from schemas.position import Partition
from schemas.wire import Body, WireRecord, decode


class Fate(Enum):
    """What became of a transaction."""

    UNDECIDED = auto()
    COMMITTED = auto()
    ABORTED = auto()


@dataclass(slots=True, eq=False)
class Transaction:
    """A group of records that become visible together or never; `consumed` are the lane positions it moves."""

    instance: str
    fate: Fate = Fate.UNDECIDED
    first: dict[Partition, int] = field(default_factory=dict)
    consumed: dict[Partition, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Entry:
    record: WireRecord | None
    transaction: Transaction | None
    body: Body | Undecodable | None = None


class Storage:
    """All partitions of one log, and the transactions that are still undecided."""

    def __init__(self, shards: int) -> None:
        self._shards = shards
        self._entries: dict[Partition, list[_Entry]] = {}
        self._low: dict[Partition, int] = {}
        self.undecided: list[Transaction] = []
        self.consumed: dict[Partition, int] = {}

    def low(self, partition: Partition) -> int:
        """The first offset still held."""
        return self._low.get(partition, 0)

    def end(self, partition: Partition) -> int:
        """The offset after the last record, decided or not."""
        return self._low.get(partition, 0) + len(self._entries.get(partition, ()))

    def stable_end(self, partition: Partition) -> int:
        """The offset up to which everything is decided."""
        end = self.end(partition)
        for transaction in self.undecided:
            end = min(end, transaction.first.get(partition, end))
        return end

    def begin(self, instance: str) -> Transaction:
        """A new transaction."""
        transaction = Transaction(instance)
        self.undecided.append(transaction)
        return transaction

    def append(self, partition: Partition, record: WireRecord, transaction: Transaction | None = None) -> int:
        """Append one record, visible at once unless it belongs to a transaction; its offset."""
        offset = self.end(partition)
        if transaction is not None:
            transaction.first.setdefault(partition, offset)
        self._entries.setdefault(partition, []).append(_Entry(record, transaction))
        return offset

    def decide(self, transaction: Transaction, fate: Fate) -> None:
        """Commit or abort a transaction that is still undecided."""
        self.undecided.remove(transaction)
        transaction.fate = fate
        for partition in transaction.first:
            self._entries[partition].append(_Entry(None, None))
        if fate is Fate.COMMITTED:
            self.consumed.update(transaction.consumed)

    def committed(self, partition: Partition, start: int) -> Iterator[tuple[int, WireRecord | None]]:
        """Each decided offset from `start`, with its record; None where there is nothing to hand out."""
        low = self.low(partition)
        entries = self._entries.get(partition, [])
        for index in range(start - low, self.stable_end(partition) - low):
            entry = entries[index]
            aborted = entry.transaction is not None and entry.transaction.fate is Fate.ABORTED
            yield low + index, None if aborted else entry.record

    def body(self, partition: Partition, offset: int) -> Body | Undecodable:
        """What the record at `offset` says; decoded once, whoever reads it."""
        entry = self._entries[partition][offset - self.low(partition)]
        if entry.body is None:
            assert entry.record is not None, "markers say nothing"
            entry.body = decode(*partition, self._shards, entry.record)
        return entry.body

    def delete_before(self, partition: Partition, offset: int) -> None:
        """Forget the records of a partition before `offset`."""
        entries = self._entries.get(partition, [])
        del entries[: offset - self.low(partition)]
        self._low[partition] = offset

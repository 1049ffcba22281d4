"""What must an adapter of the log let the suite do to it?

Each adapter has a module `<name>_harness` here with `open_harness(request, tmp_path)`, an async context manager that gives a
`LogHarness`; `conftest.ADAPTERS` lists the names. A harness opens one log for one test and closes what it opened.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from schemas.event_envelope import EventEnvelope
from schemas.log import CommandSender, EventReader, Outcomes, OwnedShards, RecordSender, Taken
from schemas.outcome import Outcome
from schemas.position import Partition
from schemas.wire import WireRecord


class Log(Protocol):
    """An opened log with its ports."""

    @property
    def sender(self) -> CommandSender: ...

    @property
    def outcomes(self) -> Outcomes: ...

    @property
    def reader(self) -> EventReader: ...

    @property
    def records(self) -> RecordSender: ...

    def owned_shards(self, instance: str) -> OwnedShards: ...

    async def close(self) -> None: ...


class Staged(Protocol):
    """A transaction whose records are in the log, or on the way into it, and which is not decided."""

    async def commit(self) -> None:
        """Decide: visible."""
        ...

    async def abort(self) -> None:
        """Decide: never visible."""
        ...


class LogHarness(Protocol):
    """One log of one adapter, for one test."""

    shards: int
    """How many shards it has: at least 2."""

    patience_s: float
    """What must happen happens within this time, also after a rebalance."""

    glance_s: float
    """What would happen would have happened after this time; how long a test looks that it does not."""

    async def open(self) -> Log:
        """The log, created empty."""
        ...

    async def reopen(self, log: Log) -> Log:
        """Close it in order and open the same log again, as after a restart of everything."""
        ...

    async def put(self, log: Log, partition: Partition, record: WireRecord) -> None:
        """Append any bytes, past our encoders."""
        ...

    async def delete_before(self, log: Log, partition: Partition, offset: int) -> None:
        """Delete records at the low end: what retention does to finite topics, and damage to events."""
        ...

    async def stage(
        self, log: Log, owner: OwnedShards, taken: Taken, events: Sequence[EventEnvelope], outcomes: Sequence[Outcome]
    ) -> Staged:
        """Begin what `owner.commit` does and hold it before the decision."""
        ...

    async def usurp(self, log: Log, owner: OwnedShards, instance: str) -> OwnedShards:
        """Another member that gets every shard of `owner`, who does not know it, as a paused process does not."""
        ...


def from_start(topic: str, shards: int) -> Mapping[Partition, int]:
    """The beginning of every partition of a topic."""
    return {Partition(topic, shard): 0 for shard in range(shards)}

"""The whole log in one process and in memory: no thread, no clock but the event loop's, the same order every time.

Simulations steer it: `at` is called at the two moments of a transaction where a crash, a hold or an abort matters, `fence`
is a session time-out, `expire` a transaction time-out and `delete_before` retention or damage.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal
from uuid import UUID

from infra.memory.feed import MemoryFeed
from infra.memory.membership import Membership
from infra.memory.owned import MemoryOwnedShards
from infra.memory.records import encoded
from infra.memory.storage import Fate, Storage, Transaction
from infra.memory.waiting import MEMBERS, Waiting
from schemas.actor import PEOPLE_KINDS
from schemas.command_envelope import CommandEnvelope
from schemas.heartbeat import Heartbeat
from schemas.outcome import Outcome
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.run_output import OutputChunk
from schemas.topics import COMMANDS_PEOPLE, COMMANDS_SYSTEM
from schemas.wire import WireRecord

Moment = Literal["produced", "offsets sent"]
"""`produced`: staged, fencing not checked yet. `offsets sent`: fencing passed, only the decision is missing."""

Hook = Callable[[Moment, Transaction], Awaitable[None]]
"""May wait (the transaction stays undecided), raise `CommitAborted` (it is aborted) or anything else (a crash: it stays)."""


async def _pass(moment: Moment, transaction: Transaction) -> None:
    await asyncio.sleep(0)


class MemoryLog:
    """A log of `shards` shards with all its ports; several members may own shards of it at the same time."""

    def __init__(self, shards: int) -> None:
        self.shards = shards
        self.at: Hook = _pass
        self.storage = Storage(shards)
        self.membership = Membership(shards)
        self.remembered: dict[UUID, Outcome] = {}
        self.waiting = Waiting()
        self._producer: dict[str, int] = {}
        self._members = 0
        self.sender = MemorySender(self)
        self.outcomes = MemoryOutcomes(self)
        self.reader = MemoryReader(self)
        self.records = MemoryRecords(self)

    def owned_shards(self, instance: str) -> MemoryOwnedShards:
        """A new member. One with the same instance name is fenced by it."""
        self._members += 1
        return MemoryOwnedShards(self, instance, self._members)

    def enter(self, instance: str, member: int) -> None:
        """`member` becomes the producer of `instance` and joins: undecided transactions of that name are aborted."""
        before = self._producer.get(instance)
        if before is not None:
            self.membership.leave(before)
        self.expire(instance)
        self._producer[instance] = member
        self.membership.join(member)
        self.waiting.wake((MEMBERS,))

    def is_producer(self, instance: str, member: int) -> bool:
        """Whether no later member came under the same instance name."""
        return self._producer.get(instance) == member

    def leave(self, member: int) -> None:
        """`member`'s shards pass to the others."""
        self.membership.leave(member)
        self.waiting.wake((MEMBERS,))

    def fence(self, instance: str) -> None:
        """The session of `instance` times out: its shards pass to others, and it does not know."""
        self.leave(self._producer[instance])

    def expire(self, instance: str) -> None:
        """Undecided transactions of `instance` are aborted, as by their time-out."""
        for transaction in [t for t in self.storage.undecided if t.instance == instance]:
            self.decide(transaction, Fate.ABORTED)

    def decide(self, transaction: Transaction, fate: Fate) -> None:
        """Commit or abort an undecided transaction; waiting readers see it at once."""
        self.storage.decide(transaction, fate)
        self.waiting.wake((*transaction.first, *transaction.consumed))

    def put(self, partition: Partition, record: WireRecord) -> int:
        """Append any record outside of transactions; its offset."""
        offset = self.storage.append(partition, record)
        self.waiting.wake((partition,))
        return offset

    def remember(self, outcome: Outcome) -> None:
        """Keep an outcome under its command; the first one stays."""
        self.remembered.setdefault(outcome.command_id, outcome)
        self.waiting.wake((outcome.command_id,))

    def delete_before(self, partition: Partition, offset: int) -> None:
        """What retention does to finite topics, and only damage to others; forgotten outcomes are not found any more."""
        for at, record in self.storage.committed(partition, self.storage.low(partition)):
            body = self.storage.body(partition, at) if record and at < offset else None
            if isinstance(body, Outcome):
                self.remembered.pop(body.command_id, None)
        self.storage.delete_before(partition, offset)
        self.waiting.wake((partition,))

    async def close(self) -> None:
        """Nothing is held; the records stay, as if another process went on with the same log."""


class MemorySender:
    """Puts commands on a lane."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def send(self, command: CommandEnvelope) -> None:
        """Append the command; a crash may come before it and after it. Raises `RecordTooLarge`."""
        record = encoded(command)
        lane = COMMANDS_PEOPLE if command.actor.kind in PEOPLE_KINDS else COMMANDS_SYSTEM
        await asyncio.sleep(0)
        self._log.put(Partition(lane, shard_of(command.stream, self._log.shards)), record)
        await asyncio.sleep(0)


class MemoryOutcomes:
    """Says what became of a command; remembers as long as the `outcomes` topic holds the record."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def wait(self, command_id: UUID, within_s: float) -> Outcome | None:
        """The outcome as soon as it is known, or None after `within_s` seconds."""
        deadline = asyncio.get_running_loop().time() + within_s
        while (outcome := self._log.remembered.get(command_id)) is None:
            if not await self._log.waiting.wait((command_id,), deadline):
                return None
        return outcome

    async def find(self, command_id: UUID) -> Outcome | None:
        """The outcome if it is remembered."""
        await asyncio.sleep(0)
        return self._log.remembered.get(command_id)


class MemoryReader:
    """Reads what is committed."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    @property
    def shards(self) -> int:
        """The number of shards of this log."""
        return self._log.shards

    async def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """The offset after the last record of each, including undecided ones."""
        await asyncio.sleep(0)
        return {partition: self._log.storage.end(partition) for partition in partitions}

    async def feed(self, start: Mapping[Partition, int]) -> MemoryFeed:
        """A feed over these partitions from these offsets."""
        await asyncio.sleep(0)
        return MemoryFeed(self._log.storage, start, self._log.waiting)


class MemoryRecords:
    """Publishes finite records that are no events."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def publish(self, partition: Partition, records: Sequence[OutputChunk | Heartbeat]) -> int:
        """Append in order; the offset after the last. Raises `RecordTooLarge`."""
        wire = [encoded(record) for record in records]
        await asyncio.sleep(0)
        for record in wire:
            self._log.put(partition, record)
        await asyncio.sleep(0)
        return self._log.storage.end(partition)

"""How does one member of the memory log take commands and commit what they caused?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence, Set
from typing import TYPE_CHECKING

from infra.memory.records import encoded
from infra.memory.storage import Fate, Transaction
from infra.memory.waiting import MEMBERS
from schemas.event_envelope import EventEnvelope
from schemas.log import NO_SHARDS, CommitAborted, OwnershipLost, RecordTooLarge, Taken, TakenCommand
from schemas.outcome import Outcome
from schemas.partitioning import shard_of
from schemas.position import Partition, Position
from schemas.topics import COMMANDS_PEOPLE, COMMANDS_SYSTEM, OUTCOMES
from schemas.wire import WireRecord, topic_of

if TYPE_CHECKING:
    from infra.memory.log import MemoryLog, Moment


class MemoryOwnedShards:
    """One member. After `OwnershipLost` its next take joins anew, unless another runs under its name by then."""

    def __init__(self, log: MemoryLog, instance: str, member: int) -> None:
        self._log = log
        self._instance = instance
        self.member = member
        self._undecided: Transaction | None = None
        self._rotation = 0
        self._lanes = [Partition(lane, shard) for lane in (COMMANDS_PEOPLE, COMMANDS_SYSTEM) for shard in range(log.shards)]
        log.enter(instance, member)

    async def take(self, limit: int, within_s: float, without: Set[int] = NO_SHARDS) -> Taken:
        """Up to `limit` commands after the committed positions, people's lane first; empty after `within_s` seconds."""
        deadline = asyncio.get_running_loop().time() + within_s
        await asyncio.sleep(0)
        self._rejoin()
        woken_by = (MEMBERS, *(lane for lane in self._lanes if lane.shard not in without))
        while not (commands := list(self._ready(limit, without))):
            if not await self._log.waiting.wait(woken_by, deadline):
                break
            self._rejoin()
        return Taken(self._log.membership.owned_by(self.member), commands)

    async def commit(self, taken: Taken, events: Sequence[EventEnvelope], outcomes: Sequence[Outcome]) -> Sequence[Position]:
        """Stage, pass the fence, decide: all or nothing. Raises `CommitAborted` or `OwnershipLost`."""
        await asyncio.sleep(0)
        records = self._encoded(events, outcomes)
        self._fence(taken, records)
        transaction = self._undecided = self._log.storage.begin(self._instance)
        positions = [Position(*p, self._log.storage.append(p, record, transaction)) for p, record in records]
        await self._reach("produced", transaction)
        self._fence(taken, records)
        transaction.consumed = {c.position.partition: c.position.offset + 1 for c in taken.commands}
        await self._reach("offsets sent", transaction)
        self._log.decide(transaction, Fate.COMMITTED)
        for outcome in outcomes:
            self._log.remember(outcome)
        await asyncio.sleep(0)
        return positions[: len(events)]

    async def abandon(self, taken: Taken) -> None:
        """Give the batch back: takes begin at the committed positions anyway."""
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Leave in order; owned shards pass to others at once."""
        self._log.leave(self.member)
        self._abort()

    def _rejoin(self) -> None:
        if not self._log.is_producer(self._instance, self.member):
            raise OwnershipLost(f"another process runs as {self._instance}")
        if (self._undecided and self._undecided.fate is Fate.UNDECIDED) or not self._log.membership.has(self.member):
            self._log.leave(self.member)
            self._log.enter(self._instance, self.member)

    def _ready(self, limit: int, without: Set[int]) -> Iterator[TakenCommand]:
        shards = [shard for shard in self._log.membership.owned_by(self.member) if shard not in without]
        self._rotation += 1
        turn = self._rotation % len(shards) if shards else 0
        for lane in (COMMANDS_PEOPLE, COMMANDS_SYSTEM):
            for shard in shards[turn:] + shards[:turn]:
                for command in self._after(Partition(lane, shard)):
                    if limit == 0:
                        return
                    limit -= 1
                    yield command

    def _after(self, lane: Partition) -> Iterator[TakenCommand]:
        storage = self._log.storage
        if any(lane in transaction.consumed for transaction in storage.undecided):
            return  # The position is not known before that transaction is decided.
        start = max(storage.consumed.get(lane, 0), storage.low(lane))
        for offset, record in storage.committed(lane, start):
            if record is not None:
                yield TakenCommand(Position(*lane, offset), storage.body(lane, offset))  # type: ignore[arg-type]  # a lane holds commands

    def _encoded(self, events: Sequence[EventEnvelope], outcomes: Sequence[Outcome]) -> list[tuple[Partition, WireRecord]]:
        shards = self._log.shards
        try:
            told = [(Partition(topic_of(e.stream), shard_of(e.stream, shards)), encoded(e)) for e in events]
            kept = [(Partition(OUTCOMES, shard_of(o.stream, shards)), encoded(o)) for o in outcomes]
        except RecordTooLarge as error:
            raise CommitAborted(str(error)) from error
        return told + kept

    def _fence(self, taken: Taken, records: Sequence[tuple[Partition, WireRecord]]) -> None:
        owned = self._log.membership.owned_by(self.member)
        touched = {c.position.shard for c in taken.commands} | {p.shard for p, _ in records if p.topic != OUTCOMES}
        lost = [shard for shard in touched if shard not in owned or owned[shard] != taken.shards.get(shard)]
        if lost:
            self._lose(f"{self._instance} does not own shards {sorted(lost)}")

    async def _reach(self, moment: Moment, transaction: Transaction) -> None:
        try:
            await self._log.at(moment, transaction)
        except CommitAborted:
            self._abort()
            raise
        if transaction.fate is not Fate.UNDECIDED:
            self._lose(f"{self._instance} was fenced in its transaction")

    def _lose(self, why: str) -> None:
        self._log.leave(self.member)
        self._abort()
        raise OwnershipLost(why)

    def _abort(self) -> None:
        if self._undecided and self._undecided.fate is Fate.UNDECIDED:
            self._log.decide(self._undecided, Fate.ABORTED)

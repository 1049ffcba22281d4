"""What can go wrong between a process and the log? Delays, duplicates, lost answers, a cut; one such way for each port."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Engine

from commands.state_store import Changes, Found, Mark, Needs, StateStore, StateStoreFailed, StateStores
from domain.identity import name_of
from domain.run.messages import ExpireClaim
from infra.memory.log import MemoryLog, Moment
from infra.memory.owned import MemoryOwnedShards
from infra.memory.storage import Fate, Transaction
from infra.sql.inventory import SqlInventory
from processors.executor.inventory import InventoryUnavailable, UnfinishedRun
from projections.read_store import ReadStore, StoreUnavailable
from schemas.actor import PEOPLE_KINDS
from schemas.command_envelope import CommandEnvelope
from schemas.event_envelope import EventEnvelope
from schemas.heartbeat import Heartbeat
from schemas.log import NO_SHARDS, CommitAborted, Feed, LogUnavailable, OwnershipLost, Recorded, ResultUnknown, Taken
from schemas.outcome import Outcome
from schemas.partitioning import shard_of
from schemas.position import Partition, Position
from schemas.run_output import OutputChunk
from schemas.topics import COMMANDS_PEOPLE, COMMANDS_SYSTEM, EXECUTORS, OUTCOMES
from schemas.vault import VaultError
from schemas.wire import encode
from tests.processors.fake_time import START
from tests.processors.world import Vault
from tests.support.evidence import Beat, Expiry
from tests.support.simulated_process import Fault, Process, SimulationLoop

T = TypeVar("T")

HELD_UP, STANDS_STILL_S = ("PlanRun", "FailRun", "ReportRun"), (7.0, 20.0)
"""What an executor is about to say when it stands still, and for how long: others hold its run by then."""

LATEST_S = 12.0
"""How long a command may be on its way after its sender has given it up."""


@dataclass
class Network:
    """Between all processes and the log: the dice, whether anything goes wrong any more, what did, and what is on its way."""

    loop: SimulationLoop
    log: MemoryLog
    dice: Random
    moods: int
    calm: bool = False
    on_their_way: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    beats: list[Beat] = field(default_factory=list)
    expiries: list[Expiry] = field(default_factory=list)
    refuses: Fault | None = None
    looked: dict[Process, list[float]] = field(default_factory=lambda: defaultdict(list))
    _moods: dict[str, float] = field(default_factory=dict)

    def happens(self, what: str, chance: float) -> bool:
        """Whether it goes wrong this time, now."""
        fault = self.fault_by_chance(what, chance)
        return fault is not None and fault.bites()

    def fault_by_chance(self, what: str, chance: float) -> Fault | None:
        """What may go wrong this time, later. What is frequent in one history may be absent in another, so each is seen alone."""
        mood = self._moods.get(what)
        if mood is None:
            mood = self._moods[what] = Random(f"{what} {self.moods}").choice((0, 0.5, 1, 1, 1, 5, 10))
        if self.calm or self.dice.random() >= min(chance * mood, 0.6):
            return None
        return self.fault(what)

    def fault(self, what: str) -> Fault:
        """Something that goes wrong as soon as it takes effect."""
        return Fault(what, self.faults)

    async def leg(self) -> None:
        """One way through the network."""
        slow = self.happens("packet delayed", 0.02)
        await asyncio.sleep(self.dice.uniform(0, 2.0 if slow else 0.004))

    def note_beats(self, records: Sequence[OutputChunk | Heartbeat]) -> None:
        """Heartbeats have reached the log, which takes or refuses them."""
        self.beats += [Beat(r.executor, self.loop.time(), r.leaving) for r in records if isinstance(r, Heartbeat)]

    def note_expiry(self, sweeper: Process, command: CommandEnvelope) -> None:
        """A sweeper ends a claim, by what it saw when it looked last."""
        if command.type == ExpireClaim.__name__:
            executor = json.loads(command.payload)["executor"]
            self.expiries.append(Expiry(name_of(command.stream), executor, tuple(self.looked[sweeper])))

    def deliver_late(self, command: CommandEnvelope) -> None:
        """The command reaches the log some time, whoever waits for it."""
        self.on_their_way += 1
        self.loop.later(self.dice.uniform(0, LATEST_S), self._arrive, command)

    def _arrive(self, command: CommandEnvelope) -> None:
        self.on_their_way -= 1
        lane = COMMANDS_PEOPLE if command.actor.kind in PEOPLE_KINDS else COMMANDS_SYSTEM
        self.log.put(Partition(lane, shard_of(command.stream, self.log.shards)), encode(command))

    async def at(self, moment: Moment, transaction: Transaction) -> None:
        """The log's hook: a transaction is held up, or aborted."""
        if self.happens(f"transaction held when {moment}", 0.02):
            await asyncio.sleep(self.dice.uniform(0, 10))
        else:
            await asyncio.sleep(self.dice.uniform(0, 0.005))
        if moment == "produced" and self.happens("transaction aborted", 0.01):
            raise CommitAborted("the broker says so")

    def orphan(self, transaction: Transaction) -> None:
        """The owner of an undecided transaction died: its end was on its way already, or it is aborted when its time is over."""
        if transaction.consumed and (late := self.fault_by_chance("commit after death", 0.5)):
            self.loop.later(self.dice.uniform(0, 5), self._commit_late, transaction, late)
        self.loop.later(15, self.expire, transaction)

    def _commit_late(self, transaction: Transaction, fault: Fault) -> None:
        if transaction.fate is Fate.UNDECIDED:
            fault.bites()
            self._decide(transaction, Fate.COMMITTED)

    def expire(self, transaction: Transaction) -> None:
        """The transaction's time is over."""
        self._decide(transaction, Fate.ABORTED)

    def _decide(self, transaction: Transaction, fate: Fate) -> None:
        if transaction.fate is not Fate.UNDECIDED:
            return
        self.log.decide(transaction, fate)
        for partition, first in transaction.first.items():
            if partition.topic == OUTCOMES and fate is Fate.COMMITTED:
                for offset, record in self.log.storage.committed(partition, first):
                    body = record and self.log.storage.body(partition, offset)
                    if isinstance(body, Outcome):
                        self.log.remember(body)


class SimulatedClock:
    """A process's clocks: the time of day may be wrong."""

    def __init__(self, loop: SimulationLoop, process: Process) -> None:
        self._loop, self._process = loop, process

    def now(self) -> datetime:
        return START + timedelta(seconds=self._loop.time() + self._process.skew_s)

    def monotonic(self) -> float:
        return self._loop.time()


class Sender:
    """Implements `CommandSender`."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network, self._process = network, process

    async def send(self, command: CommandEnvelope) -> None:
        network = self._network
        if command.type in HELD_UP and (fault := network.fault_by_chance("executor stands still before it reports", 0.04)):
            self._process.strand(network.dice.uniform(*STANDS_STILL_S), fault)
        await network.leg()
        if self._process.mute:
            raise LogUnavailable("cut off") if network.dice.random() < 0.5 else ResultUnknown("no answer")
        if network.happens("command delivered late", 0.02):
            network.deliver_late(command)
            raise ResultUnknown("no answer")
        network.note_expiry(self._process, command)
        await network.log.sender.send(command)
        if network.happens("command delivered twice", 0.05):
            network.deliver_late(command)
        await network.leg()
        if self._process.deaf or network.happens("answer to a send lost", 0.02):
            raise ResultUnknown("no answer")


class OutcomesSeen:
    """Implements `Outcomes`."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network, self._process = network, process

    async def wait(self, command_id: UUID, within_s: float) -> Outcome | None:
        until = self._network.loop.time() + within_s
        await self._network.leg()
        outcome = await self._network.log.outcomes.wait(command_id, within_s)
        await self._network.leg()
        if self._process.is_cut or (outcome and self._network.happens("outcome not heard", 0.02)):
            await asyncio.sleep(max(0.0, until - self._network.loop.time()))
            return None
        return outcome

    async def find(self, command_id: UUID) -> Outcome | None:
        await self._network.leg()
        return await self._network.log.outcomes.find(command_id)


class _Feed:
    def __init__(self, network: Network, process: Process, feed: Feed) -> None:
        self._network, self._process, self._feed = network, process, feed

    @property
    def positions(self) -> Mapping[Partition, int]:
        return self._feed.positions

    async def read(self, limit: int, within_s: float) -> Sequence[Recorded]:
        if self._process.is_cut:
            await asyncio.sleep(within_s)
            raise LogUnavailable("cut off")
        records = await self._feed.read(min(limit, self._network.dice.choice((1, 3, 20, 500))), within_s)
        if records:
            await self._network.leg()
        return records

    async def close(self) -> None:
        await self._feed.close()


class Reader:
    """Implements `EventReader`."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network, self._process = network, process

    @property
    def shards(self) -> int:
        return self._network.log.shards

    async def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        await self._reach()
        ends = await self._network.log.reader.ends(partitions)
        await self._network.leg()
        return ends

    async def feed(self, start: Mapping[Partition, int]) -> Feed:
        await self._reach()
        return _Feed(self._network, self._process, await self._network.log.reader.feed(start))

    async def _reach(self) -> None:
        await self._network.leg()
        if self._process.is_cut:
            raise LogUnavailable("cut off")


class Records:
    """Implements `RecordSender`."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network, self._process = network, process

    async def publish(self, partition: Partition, records: Sequence[OutputChunk | Heartbeat]) -> int:
        await self._network.leg()
        if self._process.mute:
            raise LogUnavailable("cut off")
        self._network.note_beats(records)
        if self._network.refuses and partition.topic == EXECUTORS and self._network.refuses.bites():
            raise LogUnavailable("too few replicas in sync")
        end = await self._network.log.records.publish(partition, records)
        if self._process.deaf or self._network.happens("answer to a record lost", 0.02):
            raise ResultUnknown("no answer")
        return end


class Owned:
    """Implements `OwnedShards`; `inner` is the member of the memory log."""

    def __init__(self, network: Network, process: Process, instance: str) -> None:
        self._network, self._process = network, process
        self.instance = instance
        self.inner: MemoryOwnedShards = network.log.owned_shards(instance)

    async def take(self, limit: int, within_s: float, without: Set[int] = NO_SHARDS) -> Taken:
        await self._network.leg()
        if self._process.is_cut:
            raise LogUnavailable("cut off")
        return await self.inner.take(limit, within_s, without)

    async def commit(self, taken: Taken, events: Sequence[EventEnvelope], outcomes: Sequence[Outcome]) -> Sequence[Position]:
        await self._network.leg()
        if self._process.mute and self._network.dice.random() < 0.5:
            self._lose("cut off before it")
        positions = await self.inner.commit(taken, events, outcomes)
        if self._process.is_cut or self._network.happens("answer to a commit lost", 0.02):
            self._lose("no answer")
        return positions

    def _lose(self, why: str) -> None:
        self._network.log.leave(self.inner.member)
        raise OwnershipLost(why)

    async def abandon(self, taken: Taken) -> None:
        await self.inner.abandon(taken)

    async def close(self) -> None:
        await self.inner.close()


class Disks:
    """Implements `StateStores`: what an owner left behind, on a disk that fails now and then."""

    def __init__(self, network: Network, inner: StateStores) -> None:
        self._network, self._inner = network, inner

    async def open(self, shard: int) -> StateStore:
        return _Disk(self._network, await self._inner.open(shard))


class _Disk:
    def __init__(self, network: Network, inner: StateStore) -> None:
        self._network, self._inner = network, inner
        self.discard, self.close = inner.discard, inner.close

    async def mark(self) -> Mark:
        return await self._inner.mark()

    async def load(self, needs: Needs) -> Found:
        self._fail("snapshot not loaded")
        return await self._inner.load(needs)

    async def save(self, changes: Changes) -> None:
        self._fail("snapshot not saved")
        await self._inner.save(changes)

    def _fail(self, what: str) -> None:
        if self._network.happens(what, 0.005):
            raise StateStoreFailed(what)


class FaultyVault(Vault):
    """A vault that cannot always be asked."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network

    async def open(self, secret_id: str, bound_to: str) -> bytes:
        await asyncio.sleep(self._network.dice.uniform(0, 0.01))
        if self._network.happens("vault silent", 0.05):
            raise VaultError("no answer")
        return await super().open(secret_id, bound_to)


class Store:
    """Implements `ReadStore` on `inner`: sometimes the answer to a commit is lost, or the process is cut off from it."""

    def __init__(self, network: Network, process: Process, inner: ReadStore) -> None:
        self._network, self._process, self._inner = network, process, inner

    async def transact(self, work: Callable[[Connection], T]) -> T:
        if self._process.blind:
            raise StoreUnavailable("cut off")
        result = await self._inner.transact(work)
        if self._process.blind or self._network.happens("answer of the database lost", 0.02):
            raise StoreUnavailable("no answer")
        return result

    async def close(self) -> None:
        await self._inner.close()


class Seen(SqlInventory):
    """The inventory, as a process that may be cut off from it sees it."""

    def __init__(self, network: Network, process: Process, engine: Engine) -> None:
        super().__init__(engine)
        self._network, self._process = network, process

    async def unfinished_runs(self) -> Sequence[UnfinishedRun]:
        runs = await super().unfinished_runs()
        self._network.looked[self._process].append(self._network.loop.time())
        return runs

    async def _rows(self, query: Any, values: Mapping[str, Any] | None = None) -> Sequence[Mapping[str, Any]]:
        if self._process.blind:
            raise InventoryUnavailable("cut off")
        return await super()._rows(query, values)


def faulty_offer(
    network: Network, offer: Callable[[EventEnvelope], Awaitable[None]]
) -> Callable[[EventEnvelope], Awaitable[None]]:
    """Events reach a processor twice, late or not at all."""

    async def offered(event: EventEnvelope) -> None:
        if network.happens("event not offered", 0.03):
            return
        await network.leg()
        await offer(event)
        if network.happens("event offered twice", 0.03):
            await offer(event)

    return offered

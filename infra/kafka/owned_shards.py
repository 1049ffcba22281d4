"""Who owns which shards, and how does their owner take and commit?

One dedicated thread owns the group consumer and the transactional producer (HAZARDS R3, R12). The event loop hands it one job
after the other and awaits the answer; a watchdog ends the process when it hangs.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from operator import is_
from typing import Any, TypeVar

from confluent_kafka import Message

from infra.kafka.consuming import Offsets, wire_record
from infra.kafka.lanes import Lanes
from infra.kafka.producing import check_size
from infra.kafka.settings import KafkaLogSettings
from infra.kafka.transaction import Transactions
from infra.kafka.watchdog import Watchdog
from schemas.event_envelope import EventEnvelope
from schemas.log import NO_SHARDS, CommitAborted, OwnershipLost, RecordTooLarge, Taken, TakenCommand
from schemas.outcome import Outcome
from schemas.partitioning import shard_of
from schemas.position import Partition, Position
from schemas.topics import OUTCOMES
from schemas.wire import WireRecord, decode, encode_event, encode_outcome, topic_of

_SLICE_S = 0.05

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Batch:
    """What was taken and is neither committed nor given back."""

    shards: Mapping[int, int]
    commands: Sequence[TakenCommand]
    messages: Sequence[Message]

    def begins_with(self, part: Taken) -> bool:
        """Whether `part` is these commands or the next of them."""
        ours, theirs = self.commands[: len(part.commands)], part.commands
        return len(ours) == len(theirs) and all(map(is_, ours, theirs))

    def after(self, part: Taken) -> "_Batch | None":
        """What is left once `part` is committed."""
        done = len(part.commands)
        return _Batch(self.shards, self.commands[done:], self.messages[done:]) if done < len(self.commands) else None


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[], Any]
    answer: asyncio.Future[Any]


class KafkaOwnedShards:
    """One member of the owners' group. Its thread starts with it and ends with `close`.

    Raises `InstanceInUse` when another live process runs under the same instance name.
    """

    def __init__(self, settings: KafkaLogSettings, offsets: Offsets) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._lanes = Lanes(settings, offsets)
        self._transactions = Transactions(settings)
        self._batch: _Batch | None = None
        self._orphaned = False
        self._closed = False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._watchdog = Watchdog(settings.hang_s)
        self._thread = threading.Thread(target=self._run, name="kafka-owner", daemon=True)
        self._thread.start()

    async def take(self, limit: int, within_s: float, without: Set[int] = NO_SHARDS) -> Taken:
        """Up to `limit` commands, people's lane first; an empty batch after `within_s` seconds."""
        return await self._do(lambda: self._take(limit, within_s, without))

    async def commit(self, taken: Taken, events: Sequence[EventEnvelope], outcomes: Sequence[Outcome]) -> Sequence[Position]:
        """Events, outcomes and consumed offsets in one transaction; the events' positions. See `transaction.py`."""
        return await self._do(lambda: self._commit(taken, events, outcomes))

    async def abandon(self, taken: Taken) -> None:
        """The next take hands the batch out again."""
        await self._do(self._give_back)

    async def close(self) -> None:
        """Leave the group; owned shards pass to others at once."""
        if self._closed:
            return
        self._closed = True
        await self._do(self._leave)
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    async def _do(self, work: Callable[[], Answer]) -> Answer:
        job = _Job(work, self._loop.create_future())
        self._jobs.put(job)
        try:
            answer: Answer = await job.answer
        except asyncio.CancelledError:
            # Nobody will hear how it ended, so whatever was decided on it must be learnt from the log.
            self._orphaned = True
            raise
        return answer

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._watchdog.begin()
            try:
                answer, failure = job.work(), None
            except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the one who awaits the answer
                answer, failure = None, error
            self._watchdog.end()
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(_tell, job.answer, answer, failure)

    def _take(self, limit: int, within_s: float, without: Set[int]) -> Taken:
        deadline = time.monotonic() + within_s
        if self._orphaned:
            self._orphaned = False
            self._forget()
        self._give_back()
        self._lanes.leave(without)
        while True:
            left = max(0.0, deadline - time.monotonic())
            messages = self._picked(limit, min(left, _SLICE_S))
            if messages or left == 0:
                break
            self._watchdog.progress()
        taken = Taken(self._lanes.tenures, [self._command(message) for message in messages])
        self._batch = _Batch(taken.shards, taken.commands, messages)
        return taken

    def _picked(self, limit: int, within_s: float) -> list[Message]:
        """What waits for us; the producer comes first, since making it ends what its predecessor left undecided."""
        if not self._transactions.ready(self._settings.call_s):
            return []
        self._lanes.join()
        self._lanes.fill(within_s)
        return self._lanes.pick(limit, self._settings.batch_bytes)

    def _command(self, message: Message) -> TakenCommand:
        topic, shard = self._settings.name(message.topic()), message.partition()
        body = decode(topic, shard, self._settings.partitions, wire_record(message))
        return TakenCommand(Position(topic, shard, message.offset()), body)  # type: ignore[arg-type]  # a lane holds commands

    def _commit(self, taken: Taken, events: Sequence[EventEnvelope], outcomes: Sequence[Outcome]) -> Sequence[Position]:
        records = self._encoded(events, outcomes)
        shards = {command.position.shard for command in taken.commands} | {p.shard for p, _ in records if p.topic != OUTCOMES}
        try:
            self._check_tenures(taken, shards)
            batch = self._batch
            if batch is None or not batch.begins_with(taken):
                raise OwnershipLost("this batch is not under way")
            if not records and not taken.commands:
                return ()
            if not self._transactions.ready(self._settings.call_s):  # the part before may have left its producer in doubt
                raise CommitAborted("there is no producer for the next part yet")
            consumed = self._lanes.positions_after(batch.messages[: len(taken.commands)], shards)
            offsets = self._transactions.commit(records, consumed, self._lanes.membership)
        except OwnershipLost:
            self._forget()
            raise
        self._lanes.passed(consumed)
        self._batch = batch.after(taken)
        return [Position(*partition, offset) for (partition, _), offset in zip(records[: len(events)], offsets, strict=False)]

    def _encoded(self, events: Sequence[EventEnvelope], outcomes: Sequence[Outcome]) -> list[tuple[Partition, WireRecord]]:
        """Raises `CommitAborted` for a record that no topic takes: nothing of its batch may be written."""
        count = self._settings.partitions
        records = [(Partition(topic_of(e.stream), shard_of(e.stream, count)), encode_event(e)) for e in events]
        records += [(Partition(OUTCOMES, shard_of(o.stream, count)), encode_outcome(o)) for o in outcomes]
        try:
            for _, record in records:
                check_size(record)
        except RecordTooLarge as error:
            raise CommitAborted(str(error)) from error
        return records

    def _check_tenures(self, taken: Taken, shards: set[int]) -> None:
        now = self._lanes.tenures
        if lost := [shard for shard in shards if shard not in now or now[shard] != taken.shards.get(shard)]:
            raise OwnershipLost(f"{self._settings.instance} does not own shards {sorted(lost)}")

    def _give_back(self) -> None:
        if self._batch is not None:
            if self._batch.shards == self._lanes.tenures:
                self._lanes.give_back(self._batch.messages)
            self._batch = None

    def _forget(self) -> None:
        self._batch = None
        self._lanes.forget()

    def _leave(self) -> None:
        self._lanes.close()
        self._transactions.close()
        self._watchdog.stop()


def _tell(answer: asyncio.Future[Any], result: object, failure: BaseException | None) -> None:
    if answer.done():
        return
    if failure is None:
        answer.set_result(result)
    else:
        answer.set_exception(failure)

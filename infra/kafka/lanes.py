"""Which shards are ours, and which commands wait in them?

The group consumer of both command lanes. Everything here runs on the one owning thread; the group's callbacks come only while
it polls, and they only write down what happened.
"""

import contextlib
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence, Set

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.kafka.consuming import Offsets
from infra.kafka.settings import KafkaLogSettings, lane_consumer
from schemas.log import NO_SHARDS, LogError, LogTruncated, LogUnavailable, OwnershipLost
from schemas.position import Partition, Position
from schemas.topics import COMMANDS_PEOPLE, COMMANDS_SYSTEM

_LOG = logging.getLogger(__name__)
_LANES = (COMMANDS_PEOPLE, COMMANDS_SYSTEM)
_AHEAD = 1000
_HELD_BYTES = 67_108_864
_ASK_S = 1.0
_CLOSE_S = 10.0
_LOOKED_AT_EVERY_S, _ANSWERS_BEFORE_LOST = 15.0, 4
"""How often it is looked whether the group knows us; how often in a row its coordinator must answer others while it does not."""
_OUTSIDE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})


class ClientLost(LogError):
    """The group's client has lost all brokers for good: only a new process gets another one."""


class LanesApart(Exception):
    """The two lanes of one shard went to different processes: the group does not use one eager range assignment."""


class Lane:
    """What was fetched of one lane and not yet taken, bounded by pausing its partitions.

    Messages of the shards `without` are kept aside: they are neither taken nor counted. Their partitions are paused, too, so that
    these are no more than were here when that began.
    """

    def __init__(self, without: Set[int] = NO_SHARDS) -> None:
        self.waiting: deque[Message] = deque()
        self.held_bytes = 0
        self.paused = False
        self._without = without
        self._aside: dict[int, deque[Message]] = {}

    def put(self, message: Message) -> None:
        """Append a fetched message."""
        if message.partition() in self._without:
            self._aside_of(message).append(message)
        else:
            self.waiting.append(message)
            self.held_bytes += len(message)

    def put_back(self, message: Message) -> None:
        """What was taken last comes first again."""
        if message.partition() in self._without:
            self._aside_of(message).appendleft(message)
        else:
            self.waiting.appendleft(message)
            self.held_bytes += len(message)

    def leave(self, without: Set[int]) -> None:
        """Other shards are left out from now on; what was kept aside of those that no longer are comes first, in its order."""
        self._without = without
        waiting, self.waiting, self.held_bytes = self.waiting, deque(), 0
        for shard in [shard for shard in self._aside if shard not in without]:
            for message in self._aside.pop(shard):
                self.put(message)
        for message in waiting:
            self.put(message)

    def _aside_of(self, message: Message) -> deque[Message]:
        return self._aside.setdefault(message.partition(), deque())

    def pop(self) -> Message:
        """The next message."""
        message = self.waiting.popleft()
        self.held_bytes -= len(message)
        return message


class Lanes:
    """Both lanes of the shards that the group gave us."""

    def __init__(self, settings: KafkaLogSettings, offsets: Offsets) -> None:
        self._settings = settings
        self._offsets = offsets
        self._tenures: dict[int, int] = {}
        self._next_tenure = itertools.count(1)
        self._held: list[TopicPartition] = []
        self._placed = True
        self._held_since = 0.0
        self._position: dict[Partition, int] = {}
        self._fetched: dict[Partition, int] = {}
        self._astray: set[Partition] = set()
        self._joined = False
        self._membership = b""
        self._without: Set[int] = NO_SHARDS
        self._looked_at, self._answers = time.monotonic(), 0
        self._lanes = {name: Lane() for name in _LANES}
        self._consumer = Consumer({**lane_consumer(settings), "error_cb": self._on_error})

    @property
    def tenures(self) -> dict[int, int]:
        """Every shard that is ours and whose first position is known, with its tenure."""
        return dict(self._tenures)

    def join(self) -> None:
        """Become a member of the group; once."""
        if not self._joined:
            self._joined = True
            self._consumer.subscribe(
                [self._settings.topic(name) for name in _LANES],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )

    def fill(self, within_s: float) -> None:
        """Serve the group and fetch what is there; wait for something only when nothing waits here.

        Raises `LanesApart`, `LogTruncated` when the log ends before the committed position, and `ClientLost`.
        """
        first = self._consumer.poll(0 if self._anything_waits() else within_s)
        if first is not None:
            for message in (first, *self._consumer.consume(_AHEAD, 0)):
                self._accept(message)
            self._bound()
        if not self._placed:
            self._place()
        if time.monotonic() - self._looked_at > _LOOKED_AT_EVERY_S:
            self._look_for_lost_client()

    def _look_for_lost_client(self) -> None:
        """A client that was told of no brokers forgets all it knew, and joins no group again (confluentinc/librdkafka#5301).

        While the group's coordinator is away nothing is counted; a group that balances knows its members all the while.
        """
        self._looked_at = time.monotonic()
        lost = not self._consumer.memberid() and self._offsets.coordinates(self._settings.group)
        self._answers = self._answers + 1 if lost else 0
        if self._answers >= _ANSWERS_BEFORE_LOST:
            raise ClientLost("the owner's client has lost all brokers, though they answer: start it anew")

    def leave(self, without: Set[int]) -> None:
        """Leave the commands of these shards, and of no others, where they are: their partitions are fetched no further.

        The client goes on from where it was when they are fetched again; that it does `_is_further` sees to.
        """
        if without == self._without:
            return
        again, self._without = self._without - without, frozenset(without)
        for name, lane in self._lanes.items():
            lane.leave(self._without)
            assigned = self._assigned(name)
            self._consumer.pause([tp for tp in assigned if tp.partition in self._without])
            if self._placed and not lane.paused:
                self._consumer.resume([tp for tp in assigned if tp.partition in again])

    def pick(self, limit: int, size: int) -> list[Message]:
        """Up to `limit` messages of about `size` bytes together, at least one if any waits; people's first."""
        picked: list[Message] = []
        for name in _LANES:
            lane = self._lanes[name]
            while lane.waiting and len(picked) < limit and (size > 0 or not picked):
                message = lane.pop()
                size -= len(message)
                picked.append(message)
        self._bound()
        return picked

    def give_back(self, messages: Sequence[Message]) -> None:
        """What was picked last will be picked next."""
        for message in reversed(messages):
            self._lanes[self._settings.name(message.topic())].put_back(message)

    def positions_after(self, messages: Sequence[Message], shards: Iterable[int]) -> list[TopicPartition]:
        """What to commit as consumed: the offsets after these messages; for shards without any, where they stand.

        The latter changes nothing, but carries the fence of the group's generation.
        """
        after = {(m.topic(), m.partition()): m.offset() + 1 for m in messages}
        for shard in set(shards) - {shard for _, shard in after}:
            after[self._settings.topic(COMMANDS_PEOPLE), shard] = self._position[Partition(COMMANDS_PEOPLE, shard)]
        return [TopicPartition(topic, shard, offset) for (topic, shard), offset in after.items()]

    def passed(self, positions: Iterable[TopicPartition]) -> None:
        """These positions have been committed."""
        self._position.update({Partition(self._settings.name(tp.topic), tp.partition): tp.offset for tp in positions})

    def membership(self) -> bytes:
        """The group's view of us, fresh, for fencing. Raises `OwnershipLost` when it is not the one our shards came with.

        librdkafka's form is `CGMDv2:`, generation, group, member …; once the group has expelled us the member's name is empty,
        and sent like that it would fence nothing (HAZARDS R8).
        """
        fresh: bytes = self._consumer.consumer_group_metadata()
        if not self._consumer.memberid() or fresh != self._membership:
            raise OwnershipLost("the group has gone on without this process")
        return fresh

    def forget(self) -> None:
        """End every tenure; what the group still leaves to us begins anew at the committed positions.

        An `assign` here, while a rebalance waits to be told, would make the client take it for settled; its close was then seen
        to hang for ever, and the whole process with it. So partitions are assigned in the callback alone, and moved by seeking.
        """
        self._end_tenures()
        if self._held:
            self._consumer.pause(self._held)
            self._placed, self._held_since = False, time.monotonic()

    def close(self) -> None:
        """Leave the group, which passes the shards on at once; a client that hangs in it is left behind after a bound.

        librdkafka's close has no time-out of its own and was seen to wait for ever for a rebalance that did not end.
        """
        closing = threading.Thread(target=self._consumer.close, name="kafka-leave", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)
        if closing.is_alive():
            _LOG.error("the owner's consumer did not leave the group within %.0f s", _CLOSE_S)

    def _anything_waits(self) -> bool:
        return any(lane.waiting for lane in self._lanes.values())

    def _accept(self, message: Message) -> None:
        error = message.error()
        if error is None:
            if self._is_further(message):
                self._lanes[self._settings.name(message.topic())].put(message)
        elif error.code() in _OUTSIDE:
            _LOG.error("retention has overtaken the owner in %s/%s", message.topic(), message.partition())
            self.forget()
        elif error.code() != KafkaError._PARTITION_EOF:
            self._on_error(error)

    def _is_further(self, message: Message) -> bool:
        """Whether it is of a partition that is ours, and the client goes on there from where it was.

        What it hands out of another was fetched before a rebalance that was told with it: whoever has it now decides it. What
        it hands out again has been decided or waits here already; librdkafka was seen to go back to where a partition was
        assigned, though it had been moved since.
        """
        partition = Partition(self._settings.name(message.topic()), message.partition())
        due = self._fetched.get(partition)
        if due is None:
            return False
        if message.offset() >= due:
            self._fetched[partition] = message.offset() + 1
            self._astray.discard(partition)
            return True
        if partition not in self._astray:
            self._astray.add(partition)
            _LOG.error("the client went back from %s to %s in %s/%s", due, message.offset(), *partition)
            with contextlib.suppress(KafkaException):
                self._consumer.seek(TopicPartition(message.topic(), message.partition(), due))
        return False

    def _bound(self) -> None:
        """Stop fetching a lane of which too much is held; fetch again once half of it is gone."""
        for name, lane in self._lanes.items():
            if not lane.paused and lane.held_bytes > _HELD_BYTES:
                self._consumer.pause(self._assigned(name))
                lane.paused = True
            elif lane.paused and lane.held_bytes < _HELD_BYTES // 2:
                self._consumer.resume(self._served(self._assigned(name)))
                lane.paused = False

    def _assigned(self, name: str) -> list[TopicPartition]:
        topic = self._settings.topic(name)
        return [tp for tp in self._consumer.assignment() if tp.topic == topic]

    def _served(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        return [tp for tp in partitions if tp.partition not in self._without]

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Assigned at an offset that is a number: to learn where "the beginning" is, the client would ask a broker, and an answer
        that came late made it go there half a second after it had been moved to the committed position.
        """
        self._end_tenures()
        self._held, self._placed, self._held_since = list(partitions), False, time.monotonic()
        consumer.assign([TopicPartition(tp.topic, tp.partition, 0) for tp in partitions])
        consumer.pause(partitions)  # nothing is fetched before the first positions are known

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._end_tenures()
        self._held, self._placed = [], True

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        _LOG.warning("the group has given this process's shards to others")
        self._on_revoke(consumer, partitions)

    def _end_tenures(self) -> None:
        self._tenures = {}
        self._position, self._fetched, self._astray = {}, {}, set()
        self._membership = b""
        self._lanes = {name: Lane(self._without) for name in _LANES}

    def _place(self) -> None:
        """Begin every held partition at its committed position, or at the low end of what the lane still holds.

        When the brokers do not say yet (a predecessor's transaction is undecided) the next call tries again.
        """
        if not self._consumer.memberid():
            return  # expelled; the callback is on its way
        try:
            start = self._first_positions()
            shards = self._shards_of_both_lanes(start)
            for p, at in start.items():
                self._consumer.seek(TopicPartition(self._settings.topic(p.topic), p.shard, at))
            self._consumer.resume(self._served(self._held))
        except (KafkaException, LogUnavailable) as error:
            self._tell_that_unplaced(error)
            return
        self._position, self._fetched = start, dict(start)
        self._membership = self._consumer.consumer_group_metadata()
        self._tenures = {shard: next(self._next_tenure) for shard in sorted(shards)}
        self._placed = True

    def _tell_that_unplaced(self, why: Exception) -> None:
        """A predecessor's transaction ends by its time-out; one that outlives it hangs and needs a person (HAZARDS R16)."""
        waited = time.monotonic() - self._held_since
        told = logging.ERROR if waited > 3 * self._settings.transaction_s else logging.INFO
        _LOG.log(told, "the first positions are not known after %.0f s (a transaction is undecided?): %s", waited, why)

    def _shards_of_both_lanes(self, held: Iterable[Partition]) -> set[int]:
        people, system = ({p.shard for p in held if p.topic == name} for name in _LANES)
        if people != system:
            raise LanesApart(f"people's commands of shards {sorted(people)}, the system's of {sorted(system)}")
        return people

    def _first_positions(self) -> dict[Partition, int]:
        committed = self._consumer.committed(self._held, timeout=_ASK_S)
        partitions = {Partition(self._settings.name(tp.topic), tp.partition): tp.offset for tp in committed}
        lows, ends = self._offsets.lows(list(partitions)), self._offsets.ends(list(partitions))
        return {p: _first(p, at, lows[p], ends[p]) for p, at in partitions.items()}

    def _on_error(self, error: KafkaError) -> None:
        told = logging.DEBUG if error.code() == KafkaError._TRANSPORT else logging.WARNING
        _LOG.log(told, "the owner's consumer: %s", error)


def _first(partition: Partition, committed: int, low: int, end: int) -> int:
    if committed > end:
        where = f"{partition.topic}/{partition.shard}"
        raise LogTruncated(f"{where} ends at {end}, {committed} was consumed", Position(*partition, committed))
    if 0 <= committed < low:
        _LOG.error("commands %s to %s of %s/%s expired before they were decided", committed, low, *partition)
    return max(committed, low)

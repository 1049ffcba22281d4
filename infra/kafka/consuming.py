"""How are records of assigned partitions read: in order, committed only, nothing skipped?"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from infra.kafka.settings import KafkaLogSettings, client, reading_consumer
from schemas.log import LogTruncated, LogUnavailable, Recorded
from schemas.position import Partition, Position
from schemas.topics import BY_NAME, COMMANDS_PEOPLE, FOR_EVER
from schemas.wire import WireRecord, decode

_LOG = logging.getLogger(__name__)
_AHEAD = 1000
_AGAIN_S = 0.02
_TRY_S = 1.0
_LOOKED_AT_EVERY_S = 10.0
"""How often partitions that hand out nothing are compared with what the brokers hold."""
_OUTSIDE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})


def wire_record(message: Message) -> WireRecord:
    """A consumed message as our bytes."""
    return WireRecord(message.key() or b"", message.value() or b"", _with_values(message.headers() or ()))


def _with_values(headers: Sequence[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes], ...]:
    """None is the value of a header without one. Ours all have one, and are not made anew."""
    for _, value in headers:
        if value is None:
            return tuple((name, value or b"") for name, value in headers)
    return tuple(headers)  # type: ignore[arg-type]  # none of them is None


def _close_beside(consumer: Consumer) -> None:
    """Close it on another thread: that may take long where a client hangs, and nothing rests on it."""
    threading.Thread(target=consumer.close, name="kafka-close", daemon=True).start()


class Offsets:
    """Asks the brokers where partitions begin and end."""

    def __init__(self, settings: KafkaLogSettings) -> None:
        self._settings = settings
        self._admin = AdminClient(client(settings))

    def lows(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The first offset each still holds. Raises `LogUnavailable`."""
        return self._ask(partitions, OffsetSpec.earliest())

    def ends(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The high watermark of each: after the last record, undecided ones included. Raises `LogUnavailable`."""
        return self._ask(partitions, OffsetSpec.latest())

    def decided_ends(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The end of what a reader may see of each, asked for once; nothing where the brokers do not answer now."""
        try:
            return self._told(partitions, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED) if partitions else {}
        except (KafkaException, TimeoutError):
            self._admin = AdminClient(client(self._settings))
            return {}

    def coordinates(self, group: str) -> bool:
        """Whether somebody coordinates this consumer group now and answers, asked for once, by a client that is no member of it.

        Not asked by describing the group: librdkafka 2.16 ends the whole process by an assertion when such a request's time is
        over before its coordinator is known (`rd_kafka_admin_coord_request`).
        """
        asking = Consumer({**client(self._settings), "group.id": group, "isolation.level": "read_uncommitted"})
        try:
            told = asking.committed([TopicPartition(self._settings.topic(COMMANDS_PEOPLE), 0)], timeout=3 * _TRY_S)
        except KafkaException:
            return False
        finally:
            _close_beside(asking)
        return told[0].error is None

    def _ask(self, partitions: Sequence[Partition], what: OffsetSpec) -> dict[Partition, int]:
        """Asked again for a while: a broker may not lead yet what the metadata says it leads.

        Asked by a new client, since one that knows an old leader epoch was seen to insist on it for minutes.
        """
        deadline = time.monotonic() + self._settings.call_s
        while partitions:
            try:
                return self._told(partitions, what, IsolationLevel.READ_UNCOMMITTED)
            except (KafkaException, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise LogUnavailable(f"the brokers do not say where partitions end: {error}") from error
                self._admin = AdminClient(client(self._settings))
                time.sleep(_AGAIN_S)
        return {}

    def _told(self, partitions: Sequence[Partition], what: OffsetSpec, isolation: IsolationLevel) -> dict[Partition, int]:
        wanted = {TopicPartition(self._settings.topic(p.topic), p.shard): what for p in partitions}
        admin = self._admin  # another thread may put a new client in its place, and a client that nobody holds answers nothing
        asked = admin.list_offsets(wanted, isolation_level=isolation, request_timeout=_TRY_S)
        told = {(tp.topic, tp.partition): future.result(2 * _TRY_S).offset for tp, future in asked.items()}
        if silent := [where for where, offset in told.items() if offset < 0]:
            # Without an answer in time the client tells no error, but an offset that is none: it would be taken for an empty log.
            raise TimeoutError(f"no answer for {len(silent)} of {len(told)} partitions")
        return {p: told[self._settings.topic(p.topic), p.shard] for p in partitions}


class AssignedConsumer:
    """A place in some partitions. Used by one thread at a time.

    It reads a little ahead and deals the partitions in turn, so that a busy one starves no other. A broker that has just stood
    still may answer that there are no brokers; librdkafka then forgets them all, those it was given at first too, and never asks
    again (confluentinc/librdkafka#5301). So where the brokers hold more and nothing came of it twice in a row, another client
    goes on from the same places.
    """

    def __init__(self, settings: KafkaLogSettings, offsets: Offsets, start: Mapping[Partition, int]) -> None:
        """Raises `LogTruncated` when a start lies outside what an events' topic holds, `LogUnavailable`."""
        self._settings = settings
        self._offsets = offsets
        self._next = {Partition(*p): offset for p, offset in self._inside(start).items()}
        self._waiting: dict[Partition, deque[Message]] = {}
        self._overtaken: set[Partition] = set()
        self._count = 0
        self._drained = False
        self._behind: dict[Partition, int] = {}
        self._looked_at = time.monotonic()
        self._consumer = self._assigned()

    @property
    def positions(self) -> dict[Partition, int]:
        """The next offset to hand out of each partition; past control records as soon as they have been passed (HAZARDS R15)."""
        return dict(self._next)

    def read(self, limit: int, within_s: float) -> list[Recorded]:
        """Up to `limit` next records, or none after `within_s` seconds. Raises `LogTruncated`, `LogUnavailable`."""
        self._begin_inside()
        self._fetch(within_s)
        self._begin_inside()
        found = list(self._dealt(limit))
        self._advance()
        # While more waits in the client, a partition may be waiting there for its turn behind others.
        if self._drained and time.monotonic() - self._looked_at > _LOOKED_AT_EVERY_S:
            self._look_for_stuck()
        return found

    def close(self) -> None:
        """Release the connections."""
        self._consumer.close()

    def _assigned(self) -> Consumer:
        consumer = Consumer({**reading_consumer(self._settings), "error_cb": self._on_error})
        consumer.assign([self._assignment(p, offset) for p, offset in self._next.items()])
        return consumer

    def _look_for_stuck(self) -> None:
        """Records of transactions that are not decided yet are not waited for."""
        ends = self._offsets.decided_ends([p for p in self._next if p not in self._waiting])
        behind = {p: self._next[p] for p, end in ends.items() if self._next[p] < end}
        if stuck := [p for p, at in behind.items() if self._behind.get(p) == at]:
            _LOG.warning(
                "nothing comes of %s though there is more: another client goes on", [f"{p.topic}/{p.shard}" for p in stuck]
            )
            _close_beside(self._consumer)
            self._waiting, self._count, behind = {}, 0, {}
            self._consumer = self._assigned()
        self._behind, self._looked_at = behind, time.monotonic()

    def _inside(self, start: Mapping[Partition, int]) -> dict[Partition, int]:
        lows, ends = self._offsets.lows(list(start)), self._offsets.ends(list(start))
        inside = {}
        for partition, offset in start.items():
            low, end = lows[partition], ends[partition]
            if offset < low and BY_NAME[partition.topic].retention_ms != FOR_EVER:
                inside[partition] = low
            elif low <= offset <= end:
                inside[partition] = offset
            else:
                where = f"{partition.topic}/{partition.shard}"
                raise LogTruncated(f"{where} holds {low} to {end}, wanted {offset}", Position(*partition, offset))
        return inside

    def _assignment(self, partition: Partition, offset: int) -> TopicPartition:
        return TopicPartition(self._settings.topic(partition.topic), partition.shard, offset)

    def _fetch(self, within_s: float) -> None:
        """What is there, up to a bound; also while something waits, or a partition fetched later would come last."""
        if not self._count and (first := self._consumer.poll(within_s)) is not None:
            self._accept(first)
        self._drained = False
        if (room := _AHEAD - self._count) > 0:
            messages = self._consumer.consume(room, 0)
            self._drained = len(messages) < room
            for message in messages:
                self._accept(message)

    def _accept(self, message: Message) -> None:
        error = message.error()
        if error is None:
            partition = Partition(self._settings.name(message.topic()), message.partition())
            self._waiting.setdefault(partition, deque()).append(message)
            self._count += 1
        elif error.code() in _OUTSIDE:
            self._overtaken.add(Partition(self._settings.name(message.topic()), message.partition()))
        elif error.code() != KafkaError._PARTITION_EOF:
            self._on_error(error)

    def _begin_inside(self) -> None:
        """Where retention has overtaken us, go on at the low end of a finite topic; of an events' topic that is an error."""
        while self._overtaken:
            partition = next(iter(self._overtaken))
            inside = self._inside({partition: self._next[partition]})
            self._next |= inside
            self._consumer.incremental_unassign([self._assignment(partition, 0)])
            self._consumer.incremental_assign([self._assignment(partition, inside[partition])])
            self._overtaken.discard(partition)

    def _dealt(self, limit: int) -> Iterator[Recorded]:
        while self._count and limit > 0:
            share = max(1, limit // len(self._waiting))
            for partition in list(self._waiting):
                taken = min(share, limit, len(self._waiting[partition]))
                yield from (self._recorded(partition) for _ in range(taken))
                limit -= taken
                # Whoever was served goes to the end of the queue.
                if left := self._waiting.pop(partition):
                    self._waiting[partition] = left

    def _recorded(self, partition: Partition) -> Recorded:
        message = self._waiting[partition].popleft()
        self._count -= 1
        offset = message.offset()
        self._next[partition] = offset + 1
        body = decode(partition.topic, partition.shard, self._settings.partitions, wire_record(message))
        return Recorded(Position(*partition, offset), body)

    def _advance(self) -> None:
        """Where nothing waits the consumer's own position counts: it has passed control records, too."""
        idle = [p for p in self._next if p not in self._waiting]
        with contextlib.suppress(KafkaException):
            for told in self._consumer.position([self._assignment(p, 0) for p in idle]):
                partition = Partition(self._settings.name(told.topic), told.partition)
                self._next[partition] = max(self._next[partition], told.offset)

    def _on_error(self, error: KafkaError) -> None:
        told = logging.DEBUG if error.code() == KafkaError._TRANSPORT else logging.WARNING
        _LOG.log(told, "a reader waits for the brokers: %s", error)

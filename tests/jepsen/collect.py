"""What stands in the log? All of it, read by a plain consumer that has nothing of the code under test but the wire format."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from schemas.command_envelope import CommandEnvelope
from schemas.event_envelope import EventEnvelope, RecordedEvent
from schemas.log import TakenCommand
from schemas.outcome import Outcome
from schemas.position import Partition, Position
from schemas.run_output import OutputChunk
from schemas.topics import COMMANDS_PEOPLE, COMMANDS_SYSTEM, EVENT_TOPICS, OUTCOMES, RUN_OUTPUT
from schemas.wire import WireRecord, decode

TOPICS = (COMMANDS_PEOPLE, COMMANDS_SYSTEM, OUTCOMES, RUN_OUTPUT, *EVENT_TOPICS)


@dataclass(frozen=True, slots=True)
class At:
    """A command or an outcome, where it stands and when a broker took it (seconds since 1970; no clock is wrong there)."""

    position: Position
    body: Any
    time: float = 0.0


@dataclass(slots=True)
class WholeLog:
    """Each partition in its order. `strange` are records that nobody of ours can have written, and what could not be read."""

    shards: int
    commands: list[At] = field(default_factory=list)
    outcomes: list[At] = field(default_factory=list)
    events: list[RecordedEvent] = field(default_factory=list)
    output: list[tuple[Position, OutputChunk]] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    read_to: dict[Partition, int] = field(default_factory=dict)

    @property
    def taken(self) -> list[TakenCommand]:
        """The commands as an owner takes them."""
        return [TakenCommand(at.position, at.body) for at in self.commands]


@dataclass(frozen=True, slots=True)
class Ends:
    """Of each partition the last stable offset, up to which everything is decided, and the high watermark."""

    stable: Mapping[Partition, int]
    high: Mapping[Partition, int]

    @property
    def undecided(self) -> list[str]:
        """Partitions that an undecided transaction holds up."""
        return [
            f"{p.topic}/{p.shard} from {self.stable[p]}, high watermark {end}"
            for p, end in self.high.items()
            if self.stable[p] < end
        ]


class Collector:
    """Reads the topics `<prefix>.…` of a cluster."""

    def __init__(self, bootstrap: str, prefix: str, shards: int) -> None:
        self._prefix, self._shards = prefix, shards
        shared = {"bootstrap.servers": bootstrap, "group.id": f"{prefix}-collector", "enable.auto.commit": False, "log_level": 2}
        self._config = {**shared, "auto.offset.reset": "error", "enable.partition.eof": True, "check.crcs": True}
        self._partitions = [Partition(topic, shard) for topic in TOPICS for shard in range(shards)]

    def undone(self) -> list[str]:
        """Commands lanes in which the owners have not decided everything yet; raises `KafkaException` when nobody says."""
        consumer = Consumer({**self._config, "group.id": f"{self._prefix}-commands", "isolation.level": "read_committed"})
        try:
            lanes = [p for p in self._partitions if p.topic in (COMMANDS_PEOPLE, COMMANDS_SYSTEM)]
            committed = consumer.committed([self._place(p) for p in lanes], timeout=20)
            ends = {p: consumer.get_watermark_offsets(self._place(p), timeout=20)[1] for p in lanes}
            at = {self._partition(tp.topic, tp.partition): max(0, tp.offset) for tp in committed}
            return [f"{p.topic}/{p.shard}: {at[p]} of {end}" for p, end in ends.items() if at[p] < end]
        finally:
            consumer.close()

    def ends(self) -> Ends:
        """Where every partition ends."""
        found = {}
        for level in ("read_committed", "read_uncommitted"):
            consumer = Consumer({**self._config, "isolation.level": level})
            try:
                found[level] = {p: self._end(consumer, p) for p in self._partitions}
            finally:
                consumer.close()
        return Ends(found["read_committed"], found["read_uncommitted"])

    def _end(self, consumer: Consumer, partition: Partition) -> int:
        return int(consumer.get_watermark_offsets(self._place(partition), timeout=20)[1])

    def everything(self, within_s: float) -> WholeLog:
        """The whole log up to its end, committed records only; what could not be read in time is told as strange."""
        log = WholeLog(self._shards)
        consumer = Consumer({**self._config, "isolation.level": "read_committed"})
        ends = self.ends().high
        until = time.monotonic() + within_s
        try:
            consumer.assign([TopicPartition(self._topic(p), p.shard, OFFSET_BEGINNING) for p in self._partitions])
            while behind := [p for p, end in ends.items() if log.read_to.get(p, 0) < end]:
                if time.monotonic() > until:
                    log.strange += [f"{p.topic}/{p.shard} was not read to its end" for p in behind]
                    break
                for message in consumer.consume(1000, 0.5):
                    self._take(message, log)
                for told in consumer.position([self._place(p) for p in behind]):
                    where = self._partition(told.topic, told.partition)
                    log.read_to[where] = max(told.offset, log.read_to.get(where, 0))
        finally:
            consumer.close()
        return log

    def _take(self, message: Any, log: WholeLog) -> None:
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                log.strange.append(f"reading: {error}")
            return
        partition = self._partition(message.topic(), message.partition())
        position = Position(*partition, message.offset())
        headers = tuple((name, value or b"") for name, value in message.headers() or ())
        record = WireRecord(message.key() or b"", message.value() or b"", headers)
        time_ = message.timestamp()[1] / 1000
        match decode(partition.topic, partition.shard, self._shards, record):
            case EventEnvelope() as event:
                log.events.append(RecordedEvent(event, position))
            case Outcome() as outcome:
                log.outcomes.append(At(position, outcome, time_))
            case CommandEnvelope() as command:
                log.commands.append(At(position, command, time_))
            case OutputChunk() as chunk:
                log.output.append((position, chunk))
            case other:
                log.strange.append(f"{position}: {other}")

    def _topic(self, partition: Partition) -> str:
        return f"{self._prefix}.{partition.topic}"

    def _place(self, partition: Partition) -> TopicPartition:
        return TopicPartition(self._topic(partition), partition.shard)

    def _partition(self, topic: str, shard: int) -> Partition:
        return Partition(topic.removeprefix(f"{self._prefix}."), shard)


def in_order(records: Sequence[At]) -> dict[int, list[At]]:
    """Records of one topic by shard, each shard in its order."""
    found: dict[int, list[At]] = {}
    for record in records:
        found.setdefault(record.position.shard, []).append(record)
    return found

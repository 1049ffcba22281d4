"""Which Kafka, which topics, which time-outs; and what every client is told."""

import logging
from dataclasses import dataclass
from typing import Any

from schemas.topics import BY_NAME, MAX_RECORD_BYTES

ClientConfig = dict[str, Any]
"""What confluent-kafka calls a configuration: property to value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaLogSettings:
    """One deployment's log on Kafka.

    `bootstrap` are addresses `host:port,…`; `prefix` comes before every topic, group and transactional id; `partitions` is the
    number of shards, fixed for ever when the topics are made; `instance` names this process among the owners and stays the
    same over its restarts. All times are seconds. A transaction's time-out lies below the session's, which lies below the
    longest time between two takes (HAZARDS R9), so that a commit cannot land after another has taken over.
    """

    bootstrap: str
    prefix: str = "opsconductor"
    partitions: int = 8
    replication: int = 1
    instance: str = "1"
    transaction_s: float = 15.0
    session_s: float = 30.0
    max_poll_s: float = 120.0
    heartbeat_s: float = 1.0
    call_s: float = 5.0
    """How long one call of a transaction may take before it counts as failed."""
    doubtful_commit_s: float = 1.0
    """A commit that took longer may have a straggler under way: its producer is not used again (HAZARDS D1)."""
    hang_s: float = 30.0
    """The owning thread has hung when it shows no progress for so long; the process then ends."""
    send_s: float = 10.0
    """How long a command or finite record may take to be acknowledged."""
    batch_bytes: int = 8_388_608
    """The most bytes of commands in one batch."""
    remembered_outcomes: int = 100_000
    """How many outcomes a process remembers: the window of `Outcomes.find`."""

    def __post_init__(self) -> None:
        if not self.transaction_s < self.session_s < self.max_poll_s:
            raise ValueError("transaction_s < session_s < max_poll_s must hold")
        if not self.call_s < self.transaction_s:
            raise ValueError("call_s < transaction_s must hold")

    @property
    def group(self) -> str:
        """The consumer group of all owners."""
        return f"{self.prefix}-commands"

    @property
    def transactional_id(self) -> str:
        """Stable over restarts, so that a new start ends what the old one left undecided (HAZARDS R10)."""
        return f"{self.prefix}-commands-{self.instance}"

    @property
    def min_insync(self) -> int:
        """How many brokers must have a record before it counts: all but one."""
        return max(1, self.replication - 1)

    def topic(self, name: str) -> str:
        """Kafka's name of a topic of our table."""
        return f"{self.prefix}.{name}"

    def name(self, topic: str) -> str:
        """Our name of one of our Kafka topics. Raises `KeyError` for another."""
        return BY_NAME[topic.removeprefix(f"{self.prefix}.")].name


def milliseconds(seconds: float) -> int:
    """Kafka counts in whole milliseconds."""
    return round(seconds * 1000)


def client(settings: KafkaLogSettings) -> ClientConfig:
    """What all clients share."""
    return {
        "bootstrap.servers": settings.bootstrap,
        "client.id": f"{settings.prefix}-{settings.instance}",
        "allow.auto.create.topics": False,
        "socket.timeout.ms": milliseconds(settings.call_s),
        "socket.nagle.disable": True,
        "retry.backoff.ms": 10,
        "retry.backoff.max.ms": 200,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "log_level": 2,  # what it says about connections comes as errors, too
        "logger": logging.getLogger("infra.kafka.librdkafka"),
    }


def producer(settings: KafkaLogSettings) -> ClientConfig:
    """A producer that loses and doubles nothing by itself."""
    return {
        **client(settings),
        "acks": "all",
        "enable.idempotence": True,
        "compression.type": "lz4",
        "message.max.bytes": MAX_RECORD_BYTES,
        "linger.ms": 0,
        "delivery.timeout.ms": milliseconds(settings.send_s),
    }


def transactional_producer(settings: KafkaLogSettings) -> ClientConfig:
    """The owner's producer; the explicit flush ends every linger at once."""
    return {
        **producer(settings),
        "transactional.id": settings.transactional_id,
        "transaction.timeout.ms": milliseconds(settings.transaction_s),
        "delivery.timeout.ms": milliseconds(settings.call_s),
        "linger.ms": 5,
    }


def reading_consumer(settings: KafkaLogSettings) -> ClientConfig:
    """A consumer of assigned partitions: committed records only, no offset is ever chosen for it (HAZARDS R14, R20).

    A transaction's end wakes no fetch, so the time a fetch waits bounds how late its records are seen.
    """
    return {
        **client(settings),
        "group.id": f"{settings.prefix}-unused",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "check.crcs": True,
        "fetch.wait.max.ms": 10,
        "fetch.error.backoff.ms": 50,
        "fetch.queue.backoff.ms": 10,
        "queued.min.messages": 5000,
        "queued.max.messages.kbytes": 16384,
    }


def lane_consumer(settings: KafkaLogSettings) -> ClientConfig:
    """The owner's consumer: eager ranges, so that one index of both lanes goes to one process (HAZARDS R13).

    `read_committed` makes it wait for a predecessor's undecided offsets. Little is fetched ahead, or people's commands would
    queue behind a flood in the client.
    """
    return {
        **reading_consumer(settings),
        "group.id": settings.group,
        "partition.assignment.strategy": "range",
        "session.timeout.ms": milliseconds(settings.session_s),
        "heartbeat.interval.ms": milliseconds(settings.heartbeat_s),
        "max.poll.interval.ms": milliseconds(settings.max_poll_s),
        "fetch.wait.max.ms": 100,
        "queued.min.messages": 1000,
    }

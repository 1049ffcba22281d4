"""Are the topics as the table says? Creates what is missing and sets what differs; never changes partitions or replicas."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from infra.kafka.settings import KafkaLogSettings, client
from schemas.log import LogUnavailable
from schemas.topics import MAX_RECORD_BYTES, TABLE, Topic

_CALL_S = 10.0
_VISIBLE_S = 15.0
_NO_LIMIT = str(2**63 - 1)


class TopicsDiffer(Exception):
    """The topics are not as the table says; `differences` lists how, one sentence each."""

    def __init__(self, differences: list[str]) -> None:
        super().__init__("the topics differ from what they should be:\n  " + "\n  ".join(differences))
        self.differences = differences


class TopicsRefused(Exception):
    """Kafka answered, and will not have the topics as they are wanted; the message is its own."""


class TooFewBrokers(TopicsRefused):
    """There are fewer brokers than replicas wanted."""


_REFUSALS = frozenset(
    {
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_REQUEST,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)


@dataclass(frozen=True, slots=True)
class _Found:
    """A topic as it is; None where it is absent."""

    partitions: int
    replication: int
    config: Mapping[str, str]


def wanted(topic: Topic, settings: KafkaLogSettings) -> dict[str, str]:
    """The settings of a topic, all explicit: a broker's default must not decide them.

    Events carry the owner's time; however wrong its clock is, brokers must take them (HAZARDS R18).
    """
    return {
        "cleanup.policy": topic.cleanup_policy,
        "retention.ms": str(topic.retention_ms),
        "retention.bytes": "-1",
        "max.message.bytes": str(MAX_RECORD_BYTES),
        "message.timestamp.type": "LogAppendTime" if topic.log_append_time else "CreateTime",
        "message.timestamp.after.max.ms": _NO_LIMIT,
        "message.timestamp.before.max.ms": _NO_LIMIT,
        "min.insync.replicas": str(settings.min_insync),
        "unclean.leader.election.enable": "false",
        "compression.type": "producer",
    }


def differences(settings: KafkaLogSettings) -> list[str]:
    """How the topics differ from the table, a sentence each; empty when all are as they should be. Raises `LogUnavailable`."""
    admin = AdminClient(client(settings))
    found = _found(admin, settings)
    told: list[str] = []
    for topic in TABLE:
        name = settings.topic(topic.name)
        now = found.get(topic.name)
        if now is None:
            told.append(f"{name} is absent")
        else:
            told += _in_shape(name, now, settings) + _in_settings(name, now, wanted(topic, settings))
    return told


def apply(settings: KafkaLogSettings) -> list[str]:
    """Make the topics what the table says; what was done, a sentence each.

    Raises `TopicsDiffer`, having done nothing, when a topic has another number of partitions or replicas: the former is fixed
    for ever, the latter is changed with Kafka's own tools. Raises `TopicsRefused`, `TooFewBrokers` or `LogUnavailable`.
    """
    admin = AdminClient(client(settings))
    found = _found(admin, settings)
    fixed = [line for name, now in found.items() for line in _in_shape(settings.topic(name), now, settings)]
    if fixed:
        raise TopicsDiffer(fixed)
    absent = [topic for topic in TABLE if topic.name not in found]
    done = _create(admin, absent, settings)
    for topic in TABLE:
        if topic.name in found:
            name = settings.topic(topic.name)
            if lines := _in_settings(name, found[topic.name], wanted(topic, settings)):
                _set(admin, name, wanted(topic, settings))
                done += [f"changed: {line}" for line in lines]
    _await_visible(settings)
    return done


def _found(admin: AdminClient, settings: KafkaLogSettings) -> dict[str, _Found]:
    try:
        listed: ClusterMetadata = admin.list_topics(timeout=_CALL_S)
        present = [t.name for t in TABLE if settings.topic(t.name) in listed.topics]
        if not present:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, settings.topic(name)) for name in present]
        described = {r.name: f.result(_CALL_S) for r, f in admin.describe_configs(resources, request_timeout=_CALL_S).items()}
    except (KafkaException, TimeoutError) as error:
        raise LogUnavailable(f"the brokers do not describe the topics: {str(error) or 'no answer in time'}") from error
    return {name: _one(listed, settings.topic(name), described) for name in present}


def _one(listed: ClusterMetadata, name: str, described: Mapping[str, Mapping[str, ConfigEntry]]) -> _Found:
    partitions = listed.topics[name].partitions.values()
    replication = min((len(p.replicas) for p in partitions), default=0)
    return _Found(len(partitions), replication, {key: entry.value for key, entry in described[name].items()})


def _in_shape(name: str, now: _Found, settings: KafkaLogSettings) -> list[str]:
    told = []
    if now.partitions != settings.partitions:
        told.append(f"{name} has {now.partitions} partitions, wanted {settings.partitions}; that is fixed for ever")
    if now.replication != settings.replication:
        told.append(f"{name} has {now.replication} replicas, wanted {settings.replication}")
    return told


def _in_settings(name: str, now: _Found, want: Mapping[str, str]) -> list[str]:
    return [
        f"{name} has {key}={now.config.get(key)}, wanted {value}"
        for key, value in want.items()
        if _as_set(now.config.get(key) or "") != _as_set(value)
    ]


def _as_set(value: str) -> frozenset[str]:
    """Lists of policies mean the same in any order."""
    return frozenset(part.strip() for part in value.split(","))


def _create(admin: AdminClient, topics: list[Topic], settings: KafkaLogSettings) -> list[str]:
    if not topics:
        return []
    new = [
        NewTopic(settings.topic(t.name), settings.partitions, settings.replication, config=wanted(t, settings)) for t in topics
    ]
    try:
        for future in admin.create_topics(new, operation_timeout=_CALL_S, request_timeout=_CALL_S + 1).values():
            future.result(_CALL_S + 2)
    except (KafkaException, TimeoutError) as error:
        raise _failure("the topics could not be created", error) from error
    return [f"created: {settings.topic(t.name)}" for t in topics]


def _set(admin: AdminClient, name: str, want: Mapping[str, str]) -> None:
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in want.items()]
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
    try:
        for future in admin.incremental_alter_configs([resource], request_timeout=_CALL_S).values():
            future.result(_CALL_S + 1)
    except (KafkaException, TimeoutError) as error:
        raise _failure(f"{name} could not be changed", error) from error


def _failure(what: str, error: KafkaException | TimeoutError) -> Exception:
    """A refusal is Kafka's answer: asking again or waiting is of no use."""
    told: KafkaError | None = error.args[0] if isinstance(error, KafkaException) else None
    if told is None or told.code() not in _REFUSALS:
        return LogUnavailable(f"{what}: {error}")
    kind = TooFewBrokers if told.code() == KafkaError.INVALID_REPLICATION_FACTOR else TopicsRefused
    return kind(f"{what}: {told.str()}")


def _await_visible(settings: KafkaLogSettings) -> None:
    """Brokers learn of new topics and settings a moment after the controller has said yes."""
    deadline = time.monotonic() + _VISIBLE_S
    while left := differences(settings):
        if time.monotonic() > deadline:
            raise TopicsDiffer(left)
        time.sleep(0.05)

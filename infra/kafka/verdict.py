"""What is to be done about an error of the transactional producer? One of three things (HAZARDS R6)."""

from enum import Enum

from confluent_kafka import KafkaError


class Verdict(Enum):
    """The three things the caller can do."""

    RETRY = "the same call again, once"
    ABORT = "abort; nothing is visible; the batch may be tried again"
    START_OVER = "fenced or in doubt: throw the producer and all state away"


_FENCED = frozenset({KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED})
"""Another producer came under the same transactional id (or a coordinator aborted for us)."""

_NOT_A_MEMBER = frozenset(
    {KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_INSTANCE_ID, KafkaError.REBALANCE_IN_PROGRESS}
)
"""The group has gone on without us; librdkafka calls these abortable, but what we decided is built on lost ground."""


def is_fenced(error: KafkaError) -> bool:
    """Did another producer come under our transactional id?"""
    return error.code() in _FENCED


def verdict_of(error: KafkaError) -> Verdict:
    """Anything that is not clearly retriable or abortable means to start over."""
    if error.fatal() or is_fenced(error) or error.code() in _NOT_A_MEMBER:
        return Verdict.START_OVER
    if error.retriable():
        return Verdict.RETRY
    if error.txn_requires_abort():
        return Verdict.ABORT
    return Verdict.START_OVER


class InstanceInUse(Exception):
    """Two live processes run under one instance name and fence each other; one of them must be renamed or stopped."""

    exit_status = 78
    """What the process should exit with: its configuration is wrong (EX_CONFIG)."""

"""What follows from which error of the transactional producer? A table."""

import pytest
from confluent_kafka import KafkaError

from infra.kafka.verdict import Verdict, is_fenced, verdict_of

TABLE = [
    (KafkaError._TIMED_OUT, {"retriable": True}, Verdict.RETRY),
    (KafkaError.CONCURRENT_TRANSACTIONS, {"retriable": True}, Verdict.RETRY),
    (KafkaError.COORDINATOR_NOT_AVAILABLE, {"retriable": True}, Verdict.RETRY),
    (KafkaError._PURGE_QUEUE, {"txn_requires_abort": True}, Verdict.ABORT),
    (KafkaError.MSG_SIZE_TOO_LARGE, {"txn_requires_abort": True}, Verdict.ABORT),
    (KafkaError._FENCED, {"fatal": True}, Verdict.START_OVER),
    (KafkaError._FENCED, {}, Verdict.START_OVER),
    (KafkaError.INVALID_PRODUCER_EPOCH, {"txn_requires_abort": True}, Verdict.START_OVER),
    (KafkaError.PRODUCER_FENCED, {"retriable": True}, Verdict.START_OVER),
    (KafkaError.ILLEGAL_GENERATION, {"txn_requires_abort": True}, Verdict.START_OVER),
    (KafkaError.UNKNOWN_MEMBER_ID, {"txn_requires_abort": True}, Verdict.START_OVER),
    (KafkaError.FENCED_INSTANCE_ID, {"txn_requires_abort": True}, Verdict.START_OVER),
    (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, {"fatal": True}, Verdict.START_OVER),
    (KafkaError.INVALID_TXN_STATE, {"fatal": True}, Verdict.START_OVER),
    (KafkaError._STATE, {}, Verdict.START_OVER),
    (KafkaError.UNKNOWN, {}, Verdict.START_OVER),
]


@pytest.mark.parametrize(("code", "flags", "verdict"), TABLE)
def test_each_error_leads_to_one_of_three_things(code, flags, verdict):
    assert verdict_of(KafkaError(code, "told", **flags)) is verdict


def test_only_another_producer_under_our_name_counts_as_fencing():
    assert is_fenced(KafkaError(KafkaError._FENCED))
    assert is_fenced(KafkaError(KafkaError.INVALID_PRODUCER_EPOCH))
    assert not is_fenced(KafkaError(KafkaError.ILLEGAL_GENERATION))

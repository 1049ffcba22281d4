"""What becomes of a transaction when a call of its producer fails without an error? (Seen of one that is fenced in its midst.)"""

import pytest
from confluent_kafka import KafkaError, KafkaException

from infra.kafka import transaction
from infra.kafka.settings import KafkaLogSettings
from infra.kafka.transaction import Transactions
from infra.kafka.verdict import InstanceInUse
from schemas.log import CommitAborted, OwnershipLost
from schemas.position import Partition
from schemas.wire import WireRecord

RECORD = (Partition("targets", 0), WireRecord(b"k", b"v"))


class Broken:
    """A producer some calls of which fail; what it acknowledges is at offset 7."""

    def __init__(self, *failing: str) -> None:
        self.failing, self.purged, self.called = failing, False, list[str]()
        self.fatal: KafkaError | None = None

    def _do(self, name: str) -> None:
        self.called.append(name)
        if name in self.failing:
            raise SystemError(f"<method {name!r}> returned NULL without setting an exception")

    def init_transactions(self, within_s: float) -> None:
        self._do("init")

    def begin_transaction(self) -> None:
        if self.fatal is not None and self.failing[0] in self.called:
            raise KafkaException(self.fatal)
        self._do("begin")

    def produce(self, *args: object, on_delivery, **kwargs: object) -> None:
        if "report" not in self.failing:
            on_delivery(None, self)

    def offset(self) -> int:
        return 7

    def flush(self, within_s: float) -> None:
        self._do("flush")

    def send_offsets_to_transaction(self, *args: object) -> None:
        self._do("offsets")

    def commit_transaction(self, within_s: float) -> None:
        self._do("commit")

    def abort_transaction(self, within_s: float) -> None:
        self._do("abort")

    def poll(self, within_s: float) -> None:
        self._do("poll")

    def purge(self) -> None:
        self.purged = True


@pytest.fixture
def producers(monkeypatch) -> list[Broken]:
    """The producers that are made, one after the other."""
    waiting = list[Broken]()

    def made(settings) -> Broken:
        waiting[0].error_cb = settings["error_cb"]
        return waiting.pop(0)

    monkeypatch.setattr(transaction, "Producer", made)
    return waiting


def committed(transactions: Transactions) -> list[int]:
    assert transactions.ready(1)
    return transactions.commit([RECORD], [], lambda: b"")


@pytest.mark.parametrize("failing", ["begin", "flush", "offsets", "commit"])
def test_the_shards_count_as_lost_and_the_next_producer_commits(producers, failing):
    broken = Broken(failing)
    producers += [broken, Broken()]
    transactions = Transactions(KafkaLogSettings(bootstrap="nowhere:1"))
    with pytest.raises(OwnershipLost, match="without setting an exception"):
        committed(transactions)
    assert broken.purged and "abort" not in broken.called
    assert committed(transactions) == [7]


def test_so_they_do_when_the_abort_fails_like_that(producers):
    producers += [Broken("report", "abort"), Broken("report"), Broken()]
    transactions = Transactions(KafkaLogSettings(bootstrap="nowhere:1"))
    with pytest.raises(OwnershipLost, match=r"0 of 1 records were acknowledged.*the abort failed"):
        committed(transactions)
    with pytest.raises(CommitAborted, match="0 of 1 records"):
        committed(transactions)


def test_a_producer_that_does_not_even_begin_is_replaced(producers):
    producers += [Broken("init"), Broken()]
    transactions = Transactions(KafkaLogSettings(bootstrap="nowhere:1"))
    assert not transactions.ready(1)
    assert committed(transactions) == [7]


def test_another_process_under_our_name_is_told_all_the_same_though_the_call_that_was_fenced_did_not_say_so(producers):
    producers += [Broken("commit"), Broken("flush")]
    for each in producers:
        each.fatal = KafkaError(KafkaError._FENCED)
    transactions = Transactions(KafkaLogSettings(bootstrap="nowhere:1"))
    with pytest.raises(OwnershipLost):
        committed(transactions)
    with pytest.raises(InstanceInUse):
        committed(transactions)


def test_a_fatal_error_that_comes_between_two_transactions_replaces_the_producer_and_its_fence_is_counted(producers):
    producers += [Broken("poll"), Broken("poll"), Broken()]
    for each in producers:
        each.fatal = KafkaError(KafkaError._FENCED)
    transactions = Transactions(KafkaLogSettings(bootstrap="nowhere:1"))
    assert transactions.ready(1) and transactions.ready(1)
    with pytest.raises(InstanceInUse):
        transactions.ready(1)

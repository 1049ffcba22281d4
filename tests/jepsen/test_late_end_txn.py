"""Does an EndTxn that comes late commit a later transaction (HAZARDS D1)? What jepsen does by chance, on purpose."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from confluent_kafka import Consumer, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from infra.deploy.services.kafka import kafka_cluster
from infra.deploy.services.kafka_jars import kafka_jars
from infra.deploy.services.native_process import ServiceUnavailable
from infra.deploy.services.together import services_folder
from infra.kafka.settings import KafkaLogSettings, lane_consumer
from infra.kafka.topics import apply
from infra.kafka.transaction import Transactions
from schemas.log import OwnershipLost
from schemas.position import Partition
from schemas.wire import WireRecord
from tests.jepsen.planted import owner_uses_its_producer_again
from tests.jepsen.proxy import END_TXN, Proxies, Rule
from tests.jepsen.world import behind
from tests.support.eventually import eventually
from tests.support.services import missing, scratch_folder

pytestmark = [pytest.mark.services, pytest.mark.slow]

RECORD = (Partition("targets", 0), WireRecord(b"k", b"v"))
SEEN_WITHIN_S = 3.0


@dataclass
class Late:
    """A transactional producer as an owner has it, behind a proxy that can hold its EndTxn."""

    settings: KafkaLogSettings
    proxies: Proxies
    transactions: Transactions
    consumer: Consumer
    admin: AdminClient

    def commit(self) -> None:
        assert self.transactions.ready(20)
        consumed = [TopicPartition(self.settings.topic("commands.people"), 0, 0)]
        self.transactions.commit([RECORD], consumed, self.consumer.consumer_group_metadata)

    def end(self, level: IsolationLevel) -> int:
        place = TopicPartition(self.settings.topic("targets"), 0)
        return int(self.admin.list_offsets({place: OffsetSpec.latest()}, isolation_level=level)[place].result(10).offset)

    def begin_another(self) -> None:
        """The next transaction, with a record of it in the log, and not ended."""
        assert self.transactions.ready(20)
        producer = self.transactions._producer
        producer.begin_transaction()
        producer.produce(self.settings.topic("targets"), b"undecided", partition=0)
        assert producer.flush(10) == 0


@pytest.fixture
def late() -> Iterator[Late]:
    with contextlib.ExitStack() as stack:
        try:
            jars = kafka_jars(services_folder())
        except ServiceUnavailable as absent:
            missing("kafka", absent)
        proxies = Proxies()
        stack.callback(proxies.close)
        cluster = stack.enter_context(behind(proxies, kafka_cluster(stack.enter_context(scratch_folder()), jars, 1)))
        settings = KafkaLogSettings(
            bootstrap=f"127.0.0.1:{cluster.nodes[0].front}", prefix="late", partitions=1,
            call_s=1.5, transaction_s=20, session_s=25, max_poll_s=30,
        )  # fmt: skip
        apply(replace(settings, bootstrap=cluster.address, call_s=10))
        consumer = Consumer(lane_consumer(settings))
        stack.callback(consumer.close)
        transactions = Transactions(settings)
        stack.callback(transactions.close)
        yield Late(settings, proxies, transactions, consumer, AdminClient({"bootstrap.servers": cluster.address}))


def one_late_and_another_open(late: Late) -> int:
    """The stable end once the first transaction's EndTxn has arrived, late, while the second is open."""
    late.commit()
    rule = Rule(client="late-1", api_key=END_TXN)
    late.proxies.impose(rule)
    with contextlib.suppress(OwnershipLost):
        late.commit()
    assert rule.caught is not None
    eventually(lambda: late.transactions.ready(5), within=60)
    before = late.end(IsolationLevel.READ_UNCOMMITTED)
    eventually(lambda: late.end(IsolationLevel.READ_COMMITTED) == before, within=60)
    late.begin_another()
    late.proxies.lift(rule)
    eventually(lambda: not late.proxies.carries(rule.caught), within=60)
    return before


def test_an_end_that_comes_late_does_not_commit_the_next_transaction(late: Late) -> None:
    before = one_late_and_another_open(late)
    until = time.monotonic() + SEEN_WITHIN_S
    while time.monotonic() < until:
        assert late.end(IsolationLevel.READ_COMMITTED) == before, "what is undecided is read"
    late.transactions._producer.abort_transaction(10)


@pytest.mark.faults
def test_it_would_if_the_producer_were_used_again(late: Late, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with the bug: this is what the precaution is for, and the day it fails the client or the broker has learnt."""
    for name in ("_throw_away", "_lost_a_broker"):
        monkeypatch.setattr(Transactions, name, getattr(Transactions, name))
    owner_uses_its_producer_again()
    before = one_late_and_another_open(late)
    eventually(lambda: late.end(IsolationLevel.READ_COMMITTED) > before, within=SEEN_WITHIN_S)

"""Is it noticed that a client has lost its brokers for good, and nothing else?

An owner's group member ends its process; a reader, a sender and a transaction's producer are given another client.
"""

import asyncio
import contextlib
import time
from typing import ClassVar

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from infra.kafka import consuming, lanes, producing, transaction
from infra.kafka.consuming import AssignedConsumer, Offsets
from infra.kafka.lanes import ClientLost, Lanes
from infra.kafka.producing import PlainProducer
from infra.kafka.transaction import Transactions
from schemas.log import LogUnavailable, ResultUnknown
from schemas.position import Partition
from schemas.wire import WireRecord
from tests.contracts.kafka_harness import kafka_settings
from tests.support.eventually import eventually_async


class Outside:
    """A group's client that hands out nothing; `member` is what the group calls it."""

    member = ""

    def __init__(self, _: object) -> None:
        pass

    def poll(self, _: float) -> None:
        return None

    def memberid(self) -> str:
        return self.member


class Asked:
    """A coordinator that answers others, or not."""

    answers = True

    def coordinates(self, _: str) -> bool:
        return self.answers


@pytest.fixture
def looking(monkeypatch):
    monkeypatch.setattr(lanes, "Consumer", Outside)
    monkeypatch.setattr(lanes, "_LOOKED_AT_EVERY_S", -1.0)
    asked = Asked()
    made = Lanes(kafka_settings("127.0.0.1:1"), asked)
    return made, asked


def test_a_client_that_the_group_does_not_know_while_the_brokers_answer_others_is_given_up(looking):
    made, _ = looking
    for _ in range(3):
        made.fill(0)
    with pytest.raises(ClientLost, match="start it anew"):
        made.fill(0)


def test_brokers_that_are_away_for_however_long_are_waited_for(looking):
    made, asked = looking
    for number in range(40):
        asked.answers = number % 4 != 3
        made.fill(0)


def test_a_member_that_hears_nothing_is_no_lost_client(looking):
    made, _ = looking
    made._consumer.member = "m-1"
    for _ in range(20):
        made.fill(0)


class Report:
    def offset(self):
        return 41


class Sending:
    """A producer's client: the first one made has lost its brokers, every later one writes at once."""

    made = 0

    def __init__(self, _):
        Sending.made += 1
        self._lost = Sending.made == 1
        self._waiting = []

    def produce(self, *_, on_delivery, **__):
        self._waiting.append((time.monotonic() + 0.2 * self._lost, on_delivery))

    def poll(self, seconds):
        time.sleep(min(seconds, 0.01))
        due = [on_delivery for at, on_delivery in self._waiting if at <= time.monotonic()]
        self._waiting = [each for each in self._waiting if each[1] not in due]
        for on_delivery in due:
            on_delivery(KafkaError(KafkaError._MSG_TIMED_OUT) if self._lost else None, Report())

    def list_topics(self, *_, timeout):
        if self._lost:
            time.sleep(0.05)
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def purge(self):
        for _, on_delivery in self._waiting:
            on_delivery(KafkaError(KafkaError._PURGE_QUEUE), Report())
        self._waiting.clear()

    def flush(self, _):
        return 0


async def test_a_sender_whose_record_is_overdue_and_whose_client_finds_no_broker_goes_on_with_another_at_once(monkeypatch):
    """Heartbeats must be back within a lease, and a send may take most of that."""
    monkeypatch.setattr(producing, "Producer", Sending)
    monkeypatch.setattr(Sending, "made", 0)
    sender = PlainProducer(kafka_settings("127.0.0.1:1", send_s=600))
    lane, record = Partition("commands.people", 0), WireRecord(b"k", b"v")
    with pytest.raises(ResultUnknown):
        await sender.put(lane, [record])

    async def put():
        with contextlib.suppress(ResultUnknown, LogUnavailable):
            return await sender.put(lane, [record]) == 42
        return False

    await eventually_async(put)
    assert Sending.made == 2
    await sender.close()


class Silent:
    """A transaction's producer that finds no coordinator; a call of it takes a while."""

    made = 0

    def __init__(self, _):
        Silent.made += 1
        self.number = Silent.made

    def init_transactions(self, _):
        time.sleep(0.01)
        if self.number == 1:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no coordinator", retriable=True))

    def poll(self, _):
        return 0

    def purge(self):
        pass


def test_a_transaction_s_producer_that_never_finds_its_coordinator_is_replaced(monkeypatch):
    monkeypatch.setattr(transaction, "Producer", Silent)
    monkeypatch.setattr(Silent, "made", 0)
    transactions = Transactions(kafka_settings("127.0.0.1:1", call_s=0.05))
    assert not transactions.ready(0)
    assert not transactions.ready(0)
    assert Silent.made == 1, "it is asked again for a while"
    deadline = time.monotonic() + 10
    while not transactions.ready(0):
        assert time.monotonic() < deadline
    assert Silent.made == 2


class Busy:
    """A reader's client that hands out a record of the first partition with each read, and has lost the second one."""

    made: ClassVar[list[object]] = []

    def __init__(self, _):
        Busy.made.append(self)
        self._offset = 0

    def assign(self, partitions):
        self._topic = partitions[0].topic
        self._offset = next(p.offset for p in partitions if p.partition == 0)

    def poll(self, _):
        time.sleep(0.005)
        self._offset += 1
        return Undecodable(self._topic, self._offset - 1)

    def consume(self, _, __):
        return []

    def position(self, partitions):
        return [TopicPartition(p.topic, p.partition, 0) for p in partitions]

    def close(self):
        pass


class Undecodable:
    """A record of the first partition."""

    def __init__(self, topic, offset):
        self.topic, self.offset = lambda: topic, lambda: offset

    def error(self):
        return None

    def partition(self):
        return 0

    def key(self):
        return b"k"

    value = key

    def headers(self):
        return None


class Ends:
    """Brokers that hold more of the second partition than anybody is handed out."""

    def lows(self, partitions):
        return dict.fromkeys(partitions, 0)

    def ends(self, partitions):
        return dict.fromkeys(partitions, 10)

    def decided_ends(self, partitions):
        return {p: 10 if p.shard else 0 for p in partitions}


def test_a_partition_that_is_lost_beside_a_busy_one_is_noticed(monkeypatch):
    monkeypatch.setattr(consuming, "Consumer", Busy)
    monkeypatch.setattr(consuming, "_LOOKED_AT_EVERY_S", 0.05)
    monkeypatch.setattr(Busy, "made", [])
    first, second = Partition("outcomes", 0), Partition("outcomes", 1)
    reader = AssignedConsumer(kafka_settings("127.0.0.1:1"), Ends(), {first: 0, second: 0})
    offsets, deadline = [], time.monotonic() + 10
    while len(Busy.made) < 2:
        offsets += [record.position.offset for record in reader.read(100, 0.1)]
        assert time.monotonic() < deadline
    offsets += [record.position.offset for record in reader.read(100, 0.1)]
    assert offsets == list(range(len(offsets))), "nothing is handed out twice or left out"
    reader.close()


@pytest.mark.services
async def test_whether_a_group_is_coordinated_is_told_by_whoever_coordinates_it(log_on_kafka):
    await log_on_kafka.open()
    settings = log_on_kafka.settings
    offsets = Offsets(settings)
    await eventually_async(lambda: asyncio.to_thread(offsets.coordinates, settings.group))
    assert not await asyncio.to_thread(Offsets(kafka_settings("127.0.0.1:1")).coordinates, settings.group)

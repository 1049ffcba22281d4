"""Is it noticed that a client has lost all brokers for good, and nothing else? An owner ends, a sender takes another client."""

import time

import pytest
from confluent_kafka import KafkaError, KafkaException

from infra.kafka import lanes, producing
from infra.kafka.lanes import ClientLost, Lanes
from infra.kafka.producing import PlainProducer
from schemas.log import ResultUnknown
from schemas.position import Partition
from schemas.wire import WireRecord
from tests.contracts.kafka_harness import kafka_settings


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
    """Brokers that answer others, or not."""

    answers = True

    def decided_ends(self, partitions: list[object]) -> dict[object, int]:
        return dict.fromkeys(partitions, 7) if self.answers else {}


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
        self._waiting.clear()

    def flush(self, _):
        return 0


async def test_a_sender_whose_client_finds_no_broker_for_twice_as_long_as_a_send_may_take_goes_on_with_another(monkeypatch):
    monkeypatch.setattr(producing, "Producer", Sending)
    monkeypatch.setattr(Sending, "made", 0)
    sender = PlainProducer(kafka_settings("127.0.0.1:1", send_s=0.1))
    lane, record = Partition("commands.people", 0), WireRecord(b"k", b"v")
    with pytest.raises(ResultUnknown):
        await sender.put(lane, [record])
    assert await sender.put(lane, [record]) == 42
    assert Sending.made == 2
    await sender.close()

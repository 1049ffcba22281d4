"""Does an owner notice that its client has lost all brokers for good, and nothing else?"""

import pytest

from infra.kafka import lanes
from infra.kafka.lanes import ClientLost, Lanes
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

"""Does a member take nothing of a shard that it lost while it fetched? The group's callbacks come in the midst of fetching."""

import pytest
from confluent_kafka import TopicPartition

from infra.kafka import lanes
from infra.kafka.lanes import Lanes
from schemas.topics import COMMANDS_PEOPLE, COMMANDS_SYSTEM
from tests.contracts.kafka_harness import kafka_settings

SETTINGS = kafka_settings("127.0.0.1:1")


class Command:
    """A record of the people's lane, shard 0."""

    def __init__(self, offset):
        self.offset = lambda: offset

    def error(self):
        return None

    def topic(self):
        return SETTINGS.topic(COMMANDS_PEOPLE)

    def partition(self):
        return 0

    def __len__(self):
        return 1


class Member:
    """The group's client: what comes of the next poll, and what happens, and comes, when all that is there is fetched."""

    def __init__(self, _):
        self.first = None
        self.then = list

    def subscribe(self, _, on_assign, on_revoke, on_lost):
        self.assign_to, self.revoke, self.lose = on_assign, on_revoke, on_lost

    def poll(self, _):
        first, self.first = self.first, None
        return first

    def consume(self, _, __):
        return self.then()

    def memberid(self):
        return "m-1"

    def consumer_group_metadata(self):
        return b"m-1"

    def committed(self, partitions, timeout):
        return [TopicPartition(tp.topic, tp.partition, 5) for tp in partitions]

    def assign(self, _):
        pass

    pause = resume = seek = assign


class Ends:
    """Brokers that hold ten records of each lane."""

    def lows(self, partitions):
        return dict.fromkeys(partitions, 0)

    def ends(self, partitions):
        return dict.fromkeys(partitions, 10)


@pytest.fixture
def joined(monkeypatch):
    """A member that has shard 0, and its client."""
    monkeypatch.setattr(lanes, "Consumer", Member)
    made = Lanes(SETTINGS, Ends())
    made.join()
    member = made._consumer
    member.assign_to(member, both_lanes())
    made.fill(0)
    assert list(made.tenures) == [0]
    return made, member


def both_lanes():
    return [TopicPartition(SETTINGS.topic(name), 0) for name in (COMMANDS_PEOPLE, COMMANDS_SYSTEM)]


def test_what_is_fetched_of_a_shard_that_is_kept_is_handed_out_in_order(joined):
    made, member = joined
    member.first, member.then = Command(5), lambda: [Command(6)]
    made.fill(0)
    assert [command.offset() for command in made.pick(10, 1000)] == [5, 6]


@pytest.mark.parametrize("told", ["revoke", "lose"])
def test_what_was_fetched_before_its_shard_went_is_not_handed_out(joined, told):
    made, member = joined

    def goes():
        getattr(member, told)(member, both_lanes())
        return [Command(6)]

    member.first, member.then = Command(5), goes
    made.fill(0)
    assert (made.tenures, made.pick(10, 1000)) == ({}, [])


def test_a_shard_that_goes_and_comes_back_within_one_fetch_begins_at_its_committed_position(joined):
    made, member = joined

    def goes_and_comes():
        member.revoke(member, both_lanes())
        member.assign_to(member, both_lanes())
        return [Command(7)]

    member.first, member.then = Command(6), goes_and_comes
    made.fill(0)
    assert made.pick(10, 1000) == []
    member.first, member.then = Command(5), list
    made.fill(0)
    assert [command.offset() for command in made.pick(10, 1000)] == [5]

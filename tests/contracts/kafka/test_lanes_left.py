"""Is no more fetched of the shards that are left out, and does what is held of them hold up nobody?"""

import pytest
from confluent_kafka import TopicPartition

from infra.kafka import lanes
from infra.kafka.lanes import Lanes
from schemas.topics import COMMANDS_PEOPLE, COMMANDS_SYSTEM
from tests.contracts.kafka.test_rebalance_in_a_fetch import SETTINGS, Command, Ends, Member


class Fetching(Member):
    """A client that knows which of its partitions it fetches."""

    def __init__(self, settings):
        super().__init__(settings)
        self.fetched = set()

    def assignment(self):
        return both_lanes(0, 1)

    def pause(self, partitions):
        self.fetched -= {(tp.topic, tp.partition) for tp in partitions}

    def resume(self, partitions):
        self.fetched |= {(tp.topic, tp.partition) for tp in partitions}

    def of_shard(self, shard):
        return {partition for _, partition in self.fetched if partition == shard}


class Large(Command):
    def __len__(self):
        return lanes._HELD_BYTES + 1


def both_lanes(*shards):
    return [TopicPartition(SETTINGS.topic(name), shard) for name in (COMMANDS_PEOPLE, COMMANDS_SYSTEM) for shard in shards]


@pytest.fixture
def joined(monkeypatch):
    """A member that has shards 0 and 1, and its client."""
    monkeypatch.setattr(lanes, "Consumer", Fetching)
    made = Lanes(SETTINGS, Ends())
    made.join()
    member = made._consumer
    member.assign_to(member, both_lanes(0, 1))
    made.fill(0)
    assert (set(made.tenures), len(member.fetched)) == ({0, 1}, 4)
    return made, member


def came(made, member, *commands):
    member.first, member.then = commands[0], lambda: list(commands[1:])
    made.fill(0)
    member.then = list


def test_a_shard_that_is_left_is_not_fetched_until_it_is_left_no_more(joined):
    made, member = joined
    made.leave({0})
    assert (member.of_shard(0), member.of_shard(1)) == (set(), {1})
    made.leave(set())
    assert len(member.fetched) == 4


def test_a_lane_that_is_emptied_goes_on_without_the_shard_that_is_left(joined):
    made, member = joined
    came(made, member, Large(5))
    assert len(member.fetched) == 2, "one lane holds too much"
    made.leave({1})
    made.pick(1, 1)
    assert member.fetched == {(tp.topic, tp.partition) for tp in both_lanes(0)}


def test_what_is_held_of_a_shard_that_is_left_stops_no_lane_and_is_handed_out_first_afterwards(joined):
    made, member = joined
    came(made, member, Large(5), Command(6))
    made.leave({0})
    came(made, member, Command(7))
    assert made.pick(10, 1000) == []
    assert member.fetched == {(tp.topic, tp.partition) for tp in both_lanes(1)}
    made.leave(set())
    came(made, member, Command(8))
    assert [message.offset() for message in made.pick(10, 10**9)] == [5, 6, 7, 8]


def test_a_shard_that_comes_anew_while_it_is_left_is_not_fetched_and_begins_at_its_committed_position(joined):
    made, member = joined
    came(made, member, Command(5))
    made.leave({0})
    member.revoke(member, both_lanes(0, 1))
    member.assign_to(member, both_lanes(0, 1))
    made.fill(0)
    assert (member.of_shard(0), member.of_shard(1)) == (set(), {1})
    made.leave(set())
    assert len(member.fetched) == 4
    assert made.pick(10, 1000) == [], "what was held of the tenure before is gone"
    came(made, member, Command(5))
    assert [message.offset() for message in made.pick(10, 1000)] == [5]

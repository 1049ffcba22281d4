"""Is a consumer that stands still stuck, or is there nothing to read?"""

from collections.abc import Mapping

import pytest

from domain.identity import RUN, stream_of
from infra.memory.log import MemoryLog
from infra.memory.storage import Fate
from processors.bindings.watchdog import Stuck, Watchdog
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.wire import encode_event
from tests.processors.fake_time import simulated
from tests.processors.test_held_run import RUN_ID, full_history

SHARDS = 2
HERE = Partition("runs", shard_of(stream_of(RUN, RUN_ID), SHARDS))


class Consumer:
    def __init__(self) -> None:
        self.log = MemoryLog(SHARDS)
        self.positions: dict[Partition, int | None] = {HERE: None}
        self.watchdog = Watchdog(self.log.reader, self.committed, 60.0)

    def committed(self) -> Mapping[Partition, int | None]:
        return dict(self.positions)

    def event(self, fate: Fate = Fate.COMMITTED) -> None:
        """A transaction with one event; its marker comes behind it."""
        transaction = self.log.storage.begin("owner")
        self.log.storage.append(HERE, encode_event(full_history()[0]), transaction)
        self.log.decide(transaction, fate)

    async def looks(self, *times: float) -> None:
        for now in times:
            await self.watchdog.look(now)


def test_nothing_to_read_is_not_stuck():
    async def story() -> None:
        consumer = Consumer()
        consumer.event()
        consumer.positions[HERE] = 1  # behind the event; its marker is never passed
        await consumer.looks(0, 30, 61, 200)
        consumer.event(Fate.ABORTED)
        await consumer.looks(201, 300, 400)

    simulated(story())


def test_an_event_behind_a_position_that_does_not_move_is_stuck():
    async def story() -> None:
        consumer = Consumer()
        consumer.positions[HERE] = 0
        await consumer.looks(0)
        consumer.event()
        await consumer.looks(31, 59)
        with pytest.raises(Stuck, match=r"runs/\d+/0 waits"):
            await consumer.looks(61)

    simulated(story())


def test_the_first_event_after_a_long_quiet_time_is_not_stuck_at_once():
    async def story() -> None:
        consumer = Consumer()
        consumer.positions[HERE] = 0
        await consumer.looks(*range(0, 600, 5))
        consumer.event()
        await consumer.looks(*range(600, 630, 5))
        consumer.positions[HERE] = 1
        await consumer.looks(*range(630, 900, 5))
        consumer.event()
        await consumer.looks(*range(900, 930, 5))
        with pytest.raises(Stuck):
            await consumer.looks(930)

    simulated(story())


def test_an_event_of_a_transaction_that_was_long_undecided_is_not_stuck_at_once():
    async def story() -> None:
        consumer = Consumer()
        consumer.positions[HERE] = 0
        transaction = consumer.log.storage.begin("owner")
        consumer.log.storage.append(HERE, encode_event(full_history()[0]), transaction)
        await consumer.looks(*range(0, 100, 5))
        consumer.log.decide(transaction, Fate.COMMITTED)
        await consumer.looks(*range(100, 130, 5))
        with pytest.raises(Stuck):
            await consumer.looks(130)

    simulated(story())


def test_a_position_that_moves_is_not_stuck_however_far_behind():
    async def story() -> None:
        consumer = Consumer()
        for position in range(10):
            consumer.event()
            consumer.positions[HERE] = position
            await consumer.looks(position * 50)

    simulated(story())


def test_a_partition_without_a_commit_counts_from_where_it_was_first_seen():
    async def story() -> None:
        consumer = Consumer()
        consumer.event()
        await consumer.looks(0, 61, 122)
        consumer.event()
        await consumer.looks(130)
        with pytest.raises(Stuck):
            await consumer.looks(160)

    simulated(story())


def test_a_partition_that_was_given_away_is_not_watched():
    async def story() -> None:
        consumer = Consumer()
        consumer.positions[HERE] = 0
        consumer.event()
        await consumer.looks(0)
        consumer.positions.clear()
        await consumer.looks(61)
        consumer.positions[HERE] = 0
        await consumer.looks(62)

    simulated(story())

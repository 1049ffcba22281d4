"""A shard that cannot be recovered holds up no other one: its commands wait, and are decided once it can be."""

import asyncio
import logging
from dataclasses import replace

import pytest

from commands.counters import Counters
from commands.owner import Bounds
from commands.state_store import Mark
from commands.taking_over import ENDS_WITHIN_S, Pace, RecoveryHangs, TakingOver
from infra.memory.log import MemoryLog
from infra.memory.state_store import MemoryStateStores
from infra.memory.storage import Fate
from schemas.log import LogUnavailable
from schemas.partitioning import shard_of
from schemas.position import Partition, Position
from schemas.topics import COMMANDS_PEOPLE
from schemas.unserved import UnservedShard
from schemas.wire import WireRecord, encode_event
from tests.commands.owning import Running, codes, owner_of, owner_with, running, sound_events, told
from tests.commands.test_recovery import next_event
from tests.processors.fake_time import simulated
from tests.support.builders import register_target, retitle_target

SHARDS, BAD = 4, 3
BOUNDS = Bounds()
AGAIN_S = BOUNDS.recovery_again_s
NAMES = {shard_of(f"target/t-{number}", SHARDS): f"t-{number}" for number in range(40)}
GOOD = [name for shard, name in sorted(NAMES.items()) if shard != BAD]
FOREIGN = WireRecord(b"target/x", b"garbage")


@pytest.fixture
def log():
    return MemoryLog(SHARDS)


@pytest.fixture
def stores():
    return MemoryStateStores()


def with_a_foreign_record(log, shard=BAD) -> Position:
    """Somebody else wrote into the shard's targets; where."""
    return Position("targets", shard, log.put(Partition("targets", shard), FOREIGN))


def repaired(log, at):
    """As when a broker is put back as it was: what stood there is none of its topic's records."""
    log.storage._entries[at.partition][at.offset].record = None
    assert next(record for _, record in log.storage.committed(at.partition, at.offset)) is None


async def until(holds, within_s=600.0):
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.05)


async def all_others_are_served(log):
    assert codes(await told(log, *[register_target(name) for name in GOOD])) == ["accepted"] * len(GOOD)


def not_consumed(log, shard=BAD):
    return log.storage.consumed.get(Partition(COMMANDS_PEOPLE, shard), 0) == 0


def test_one_foreign_record_stops_its_shard_alone(log, stores):
    async def story():
        at = with_a_foreign_record(log)
        waiting = register_target(NAMES[BAD])
        await log.sender.send(waiting)
        async with running(log, stores, bounds=BOUNDS) as owner:
            await all_others_are_served(log)
            await until(lambda: owner.unserved)
            assert list(owner.unserved) == [UnservedShard(BAD, "not_an_event", at)]
            assert set(owner.tenures) == set(range(SHARDS)) - {BAD}
            assert await log.outcomes.wait(waiting.command_id, 10 * AGAIN_S) is None
            assert codes(await told(log, *[retitle_target(name) for name in GOOD])) == ["accepted"] * len(GOOD)
        assert not_consumed(log)

    simulated(story())


def test_what_waited_is_decided_once_and_in_order_as_soon_as_the_shard_can_be_recovered(log, stores):
    async def story():
        at, name = with_a_foreign_record(log), NAMES[BAD]
        sent = [register_target(name), *[retitle_target(name, f"title {n}", expected_version=n) for n in range(1, 6)]]
        for command in sent[:3]:
            await log.sender.send(command)
        async with running(log, stores, bounds=BOUNDS) as owner:
            await until(lambda: owner.unserved)
            for command in sent[3:]:
                await log.sender.send(command)
            await all_others_are_served(log)
            repaired(log, at)
            outcomes = [await log.outcomes.wait(command.command_id, 2 * AGAIN_S) for command in sent]
            assert codes(outcomes) == ["accepted"] * 6
            assert (list(owner.unserved), set(owner.tenures)) == ([], set(range(SHARDS)))
            assert owner.counters.duplicates == 0
        versions = [event.version for event in await sound_events(log) if event.stream == f"target/{name}"]
        assert versions == [1, 2, 3, 4, 5, 6]

    simulated(story())


def test_that_it_is_unserved_is_logged_once_and_that_it_is_served_again_too(log, stores, caplog):
    async def story():
        at = with_a_foreign_record(log)
        with caplog.at_level(logging.WARNING, "commands"):
            async with running(log, stores, bounds=BOUNDS) as owner:
                await asyncio.sleep(10 * AGAIN_S)
                repaired(log, at)
                await until(lambda: len(owner.tenures) == SHARDS)
        (stopped, healed) = caplog.records
        assert stopped.levelno == logging.ERROR and f"shard {BAD} is unserved" in stopped.getMessage()
        assert f"the record at {at} is no event" in stopped.getMessage()
        assert healed.getMessage() == f"shard {BAD} is served again"

    simulated(story())


def test_it_is_tried_again_seldom(log, stores):
    async def story():
        with_a_foreign_record(log)
        opened = []
        real = stores.open

        async def opening(shard):
            opened.append(shard)
            return await real(shard)

        stores.open = opening
        async with running(log, stores, bounds=BOUNDS) as owner:
            await until(lambda: owner.unserved)
            await asyncio.sleep(10 * AGAIN_S)
        assert 9 <= opened.count(BAD) <= 11

    simulated(story())


def test_a_transaction_that_hangs_holds_up_its_shard_alone_until_it_ends(log, stores):
    async def story():
        async with running(log, stores, bounds=BOUNDS):
            await told(log, *[register_target(name) for name in NAMES.values()])
        (before,) = [event for event in await sound_events(log) if event.stream == f"target/{NAMES[BAD]}"]
        hanging = log.storage.begin("a zombie")
        log.storage.append(Partition("targets", BAD), encode_event(next_event(before, stream=before.stream)), hanging)
        async with running(log, stores, bounds=BOUNDS) as owner:
            assert codes(await told(log, *[retitle_target(name) for name in GOOD], within=1)) == ["accepted"] * len(GOOD)
            await until(lambda: owner.unserved)
            assert [told_of.reason for told_of in owner.unserved] == ["not_read_in_time"]
            log.decide(hanging, Fate.COMMITTED)
            (outcome,) = await told(log, retitle_target(NAMES[BAD], expected_version=2), within=2 * AGAIN_S)
            assert codes([outcome]) == ["accepted"]

    simulated(story())


def test_as_many_that_hang_as_are_recovered_at_once_hold_up_the_rest_for_one_recovery_at_most(log, stores):
    async def story():
        for shard in range(SHARDS - 1):
            log.storage.append(Partition("targets", shard), FOREIGN, log.storage.begin(f"a zombie {shard}"))
        bounds = replace(BOUNDS, recoveries_at_once=SHARDS - 1)
        async with running(log, stores, bounds=bounds) as owner:
            await until(lambda: owner.tenures, bounds.recovery_s + 5)
            assert set(owner.tenures) == {SHARDS - 1}
            await until(lambda: len(owner.unserved) == SHARDS - 1)

    simulated(story())


def test_a_shard_that_goes_to_another_owner_while_it_is_unserved_is_forgotten_and_taken_up_when_it_comes_back(log, stores):
    async def story():
        at = with_a_foreign_record(log)
        unserved = [UnservedShard(BAD, "not_an_event", at)]
        waiting = register_target(NAMES[BAD])
        await log.sender.send(waiting)
        async with running(log, stores, "one", BOUNDS) as first:
            await until(lambda: list(first.unserved) == unserved)
            async with running(log, MemoryStateStores(), "two", BOUNDS) as second:
                await until(lambda: list(second.unserved) == unserved)
                await until(lambda: not first.unserved)
                await all_others_are_served(log)
                assert set(first.tenures) | set(second.tenures) == set(range(SHARDS)) - {BAD}
            await until(lambda: list(first.unserved) == unserved)
            repaired(log, at)
            assert codes([await log.outcomes.wait(waiting.command_id, 2 * AGAIN_S)]) == ["accepted"]

    simulated(story())


def test_a_shard_that_comes_to_its_owner_anew_under_another_tenure_is_recovered_anew(log, stores):
    async def story():
        at = with_a_foreign_record(log)
        async with running(log, stores, bounds=BOUNDS) as owner:
            await until(lambda: owner.unserved)
            repaired(log, at)
            log.fence("one")
            assert codes(await told(log, register_target(NAMES[BAD]), within=AGAIN_S / 2)) == ["accepted"], "at once"
            assert not owner.unserved

    simulated(story())


def test_an_owner_that_stops_with_an_unserved_shard_saves_the_others_and_leaves_in_order(log, stores):
    async def story():
        with_a_foreign_record(log)
        run = Running(owner_of(log, stores, bounds=BOUNDS))
        await until(lambda: run.owner.unserved)
        await all_others_are_served(log)
        await asyncio.wait_for(run.stop(), 5)
        marks = {shard: store._mark for shard, store in stores._stores.items()}
        assert [shard for shard, mark in marks.items() if mark == Mark()] == [BAD]
        assert log.membership.owned_by(1) == {}

    simulated(story())


def test_an_owner_that_stops_while_it_tries_again_ends_at_once(log, stores):
    async def story():
        log.storage.append(Partition("targets", BAD), FOREIGN, log.storage.begin("a zombie"))
        run = Running(owner_of(log, stores, bounds=BOUNDS))
        await all_others_are_served(log)
        await until(lambda: run.owner.unserved)
        await asyncio.sleep(AGAIN_S + 1)
        await asyncio.wait_for(run.stop(), 5)

    simulated(story())


class Unanswered:
    """A log's reader whose brokers do not say where some shards end."""

    def __init__(self, log, shards=(BAD,)):
        self._reader, self.reader, self._shards = log.reader, self, shards
        self.answers = False

    def __getattr__(self, name):
        return getattr(self._reader, name)

    async def ends(self, partitions):
        if not self.answers and any(partition.shard in self._shards for partition in partitions):
            raise LogUnavailable("the leader of a partition is away")
        return await self._reader.ends(partitions)


def test_a_shard_that_cannot_be_read_is_tried_at_once_for_a_while_then_told_and_the_others_are_served_meanwhile(log, stores):
    async def story():
        broken = Unanswered(log)
        run = Running(owner_with(log.owned_shards("one"), broken, stores, BOUNDS))
        assert codes(await told(log, *[register_target(name) for name in GOOD], within=10)) == ["accepted"] * len(GOOD)
        assert not run.owner.unserved
        await until(lambda: run.owner.unserved, BOUNDS.recovery_s + 10)
        assert list(run.owner.unserved) == [UnservedShard(BAD, "log_unavailable", None)]
        broken.answers = True
        assert codes(await told(log, register_target(NAMES[BAD]), within=2 * AGAIN_S)) == ["accepted"]
        await run.stop()

    simulated(story())


async def all_are_served_but_too_many(reader, within):
    """More shards are away than are recovered at once; gives the owner and those shards."""
    log, away = MemoryLog(16), range(BOUNDS.recoveries_at_once + 4)
    run = Running(owner_with(log.owned_shards("one"), reader(log, away), MemoryStateStores(), BOUNDS))
    names = {shard_of(f"target/t-{number}", 16): f"t-{number}" for number in range(200)}
    good = [name for shard, name in sorted(names.items()) if shard not in away]
    assert codes(await told(log, *[register_target(name) for name in good], within=within)) == ["accepted"] * len(good)
    return run, away


def test_more_shards_that_cannot_be_read_than_are_recovered_at_once_hold_up_no_other():
    async def story():
        run, _ = await all_are_served_but_too_many(Unanswered, within=10)
        await run.stop()

    simulated(story())


class Hanging(Unanswered):
    """A log's reader that never says where one shard ends."""

    async def ends(self, partitions):
        if any(partition.shard in self._shards for partition in partitions):
            await asyncio.Event().wait()
        return await self._reader.ends(partitions)


def test_recoveries_that_hang_hold_up_no_other_for_ever_and_all_are_told():
    async def story():
        run, hanging = await all_are_served_but_too_many(Hanging, within=1_000)
        await until(lambda: len(run.owner.unserved) == len(hanging), 1_000)
        run._stop.set()
        with pytest.raises(RecoveryHangs):
            await asyncio.wait_for(run.task, 2 * ENDS_WITHIN_S)

    simulated(story())


def test_who_was_cancelled_while_he_waited_for_a_recovery_to_end_can_wait_for_it_once_more(log, stores):
    async def story():
        pace = Pace(within_s=100, again_s=AGAIN_S, at_once=8, without_store=3, cached_streams=10)
        taking_over = TakingOver(Hanging(log), stores, asyncio.get_running_loop().time, pace, Counters())
        await taking_over.follow({BAD: 1})
        await asyncio.sleep(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(taking_over.forget_all(), 1)
        with pytest.raises(RecoveryHangs):
            await taking_over.forget_all()

    simulated(story())


def test_a_recovery_that_hangs_is_told_and_whoever_waits_for_its_end_does_not_wait_for_ever(log, stores):
    async def story():
        run = Running(owner_with(log.owned_shards("one"), Hanging(log), stores, BOUNDS))
        await all_others_are_served(log)
        await until(lambda: run.owner.unserved)
        assert list(run.owner.unserved) == [UnservedShard(BAD, "not_read_in_time", None)]
        run._stop.set()
        with pytest.raises(RecoveryHangs):
            await asyncio.wait_for(run.task, 2 * ENDS_WITHIN_S)

    simulated(story())

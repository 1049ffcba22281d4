"""Which claims does the sweeper take for over, and how often does it say so?"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from domain.identity import RUN, stream_of
from domain.run.messages import ClaimRun, RunClaimed, RunResumed, StepStarted
from infra.memory.state_store import MemoryStateStores
from processors.executor.inventory import UnfinishedRun
from processors.processor import now_by
from processors.sweeper.core import LeaseWatch, expiry
from schemas.heartbeat import Heartbeat
from schemas.log import LogUnavailable
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.topics import EXECUTORS
from tests.commands.owning import running
from tests.processors.fake_time import START, FakeClock, simulated
from tests.processors.world import LEASE_S, World, working
from tests.support.builders import run_of

RUN_1 = UnfinishedRun(run_of(number=1), 2, "executor-1", 1)
FREE = UnfinishedRun(run_of(number=2), 1, None, 0)
SHARDS = 2
SHARD_1 = shard_of("executor-1", SHARDS)


def beat(executor: str = "executor-1", leaving: bool = False) -> Heartbeat:
    return Heartbeat(executor=executor, time=START, running=0, leaving=leaving)


@pytest.mark.parametrize(
    ("heard", "looked_at", "is_over"),
    [
        ([], 14, False),  # nobody was heard of: counts from the sweeper's start
        ([], 16, True),
        ([(10, beat())], 24, False),
        ([(10, beat())], 26, True),
        ([(10, beat("executor-2"))], 16, True),
        ([(10, beat(leaving=True))], 10, True),
        ([(10, beat(leaving=True)), (11, beat())], 12, False),  # a name that is used again
    ],
)
def test_a_claim_is_over_a_lease_after_its_executor_was_last_heard(heard: list[Any], looked_at: float, is_over: bool):
    watch = LeaseWatch(15.0, SHARDS, 0.0)
    for now in range(int(looked_at) + 1):
        watch.heard([heartbeat for at, heartbeat in heard if at == now], now)
        watch.listened(now)
        watch.written(SHARD_1, now, now)
    watch.listened(looked_at)
    assert [claim.run for claim in watch.over([RUN_1, FREE])] == ([RUN_1.run] if is_over else [])


def test_time_in_which_the_sweeper_could_not_hear_does_not_count():
    watch = LeaseWatch(15.0, SHARDS, 0.0)
    for now in range(116):
        watch.written(SHARD_1, now, now)
    watch.heard([beat()], 1.0)
    watch.listened(1.0)
    assert watch.over([RUN_1]) == [], "whatever time it is now, it has listened to the first second only"
    watch.listened(100.0)
    assert watch.over([RUN_1]) == []
    for now in range(101, 116):
        watch.listened(now)
    assert watch.over([RUN_1]) == []
    watch.listened(115.5)
    assert len(watch.over([RUN_1])) == 1


@pytest.mark.parametrize(
    ("written", "looked_at", "is_over"),
    [
        ([], 100, False),  # nothing shows that it could have spoken
        ([(7, 7), (14.4, 14.5)], 16, False),
        ([(7, 7), (14.5, 14.5)], 16, True),
        ([(7, 7), (10, None), (10.1, 10.1), (14, 14), (17.5, 17.5)], 18, False),  # refused in between
        ([(7, 7), (10, None), (10.1, 10.1), (14, 14), (17.7, 17.7)], 18, True),
        ([(7, 14.9), (15, 15)], 16, False),  # it was taken at the end of that time, as far as anybody knows
        ([(7, 14), (15, 20), (21, 21.1), (22, 22)], 22, True),  # a slow disk
        ([(7, 7), (8, 15), (16, 16)], 17, False),  # the second was not taken for too long
    ],
)
def test_a_silence_is_one_once_the_log_was_shown_to_take_heartbeats_for_half_a_lease(
    written: list[Any], looked_at: float, is_over: bool
):
    watch = LeaseWatch(15.0, SHARDS, 0.0)
    for now in range(int(looked_at) + 1):
        watch.listened(now)
    for asked_at, answered_at in written:
        if answered_at is None:
            watch.refused(SHARD_1)
        else:
            watch.written(1 - SHARD_1, asked_at, answered_at)
            watch.written(SHARD_1, asked_at, answered_at)
    assert [claim.run for claim in watch.over([RUN_1])] == ([RUN_1.run] if is_over else [])


def test_writes_before_an_executor_was_heard_show_nothing_about_its_silence_after_it():
    watch = LeaseWatch(15.0, SHARDS, 0.0)
    for now in range(41):
        watch.listened(now)
        watch.heard([beat()] if now == 20 else [], now)
        if now < 28:
            watch.written(SHARD_1, now, now)
    assert watch.over([RUN_1]) == []


def test_only_where_a_holder_is_silent_the_sweeper_writes():
    watch = LeaseWatch(15.0, SHARDS, 0.0)
    watch.listened(6)
    assert watch.to_write_to([RUN_1, FREE]) == []
    watch.listened(6.1)
    assert watch.to_write_to([RUN_1, FREE]) == [SHARD_1]
    assert watch.to_write_to([FREE]) == []
    watch.heard([beat(leaving=True)], 7)
    watch.listened(14)
    assert watch.to_write_to([RUN_1]) == [], "it said that it leaves"


def slow(ask: Any, seconds: float) -> Any:
    """The same question, whose answer is on its way for so long."""

    async def asked(*given: Any) -> Any:
        found = await ask(*given)
        await asyncio.sleep(seconds)
        return found

    return asked


SLOW = [(1.0, 0.3, 0), (5.0, 1.0, 0.6), (15.0, 6.0, 0.6), (15.0, 20.0, 0)]


@pytest.mark.parametrize(("lease_s", "query_s", "ends_s"), SLOW)
def test_a_dead_executor_is_expired_though_database_and_brokers_are_slow(lease_s: float, query_s: float, ends_s: float):
    async def story() -> None:
        world = World()
        unfinished, ends = world.read_model.unfinished_runs, world.log.reader.ends

        with pytest.MonkeyPatch.context() as patch:
            async with running(world.log, MemoryStateStores()), world.sweeping(lease_s):
                await world.furnish()
                run = await world.request()
                await world.tell(ClaimRun("executor-1", 1), stream_of(RUN, run))
                patch.setattr(world.read_model, "unfinished_runs", slow(unfinished, query_s))
                patch.setattr(world.log.reader, "ends", slow(ends, ends_s))
                await world.until(run, RunResumed)

    simulated(story())


@pytest.mark.parametrize("query_s", [6.3, 20.0])
def test_who_spoke_while_the_database_was_asked_is_not_taken_for_silent(query_s: float):
    async def story() -> None:
        world = World()
        unfinished = world.read_model.unfinished_runs

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.read_model, "unfinished_runs", slow(unfinished, query_s))
            async with running(world.log, MemoryStateStores()), world.sweeping():
                await world.furnish()
                run = await world.request()
                await world.tell(ClaimRun("executor-1", 1), stream_of(RUN, run))
                for _ in range(8):
                    await world.log.records.publish(Partition(EXECUTORS, 0), [beat()])
                    await asyncio.sleep(11)
                history = [recorded.event.type for recorded in await world.read_model.history(stream_of(RUN, run))]
                assert history == ["RunRequested", "RunClaimed"]

    simulated(story())


def test_who_speaks_while_the_history_of_its_run_is_looked_up_keeps_it():
    async def story() -> None:
        world = World()
        history = world.read_model.history

        async def heard_meanwhile(stream: str) -> Any:
            await world.log.records.publish(Partition(EXECUTORS, 0), [beat()])
            await asyncio.sleep(3)
            return await history(stream)

        with pytest.MonkeyPatch.context() as patch:
            async with running(world.log, MemoryStateStores()), world.sweeping():
                await world.furnish()
                run = await world.request()
                await world.tell(ClaimRun("executor-1", 1), stream_of(RUN, run))
                patch.setattr(world.read_model, "history", heard_meanwhile)
                await asyncio.sleep(4 * LEASE_S)
                assert (await history(stream_of(RUN, run)))[-1].event.type == "RunClaimed"

    simulated(story())


@pytest.mark.parametrize("there_are_more", [False, True])
def test_only_once_all_that_was_published_has_been_heard_is_a_silence_one(there_are_more: bool):
    """The log says that heartbeats stand where the feed has not come yet."""

    async def story() -> None:
        world = World()
        ends = world.log.reader.ends

        async def further(partitions: Any) -> Any:
            return {partition: end + there_are_more for partition, end in (await ends(partitions)).items()}

        with pytest.MonkeyPatch.context() as patch:
            async with running(world.log, MemoryStateStores()), world.sweeping():
                await world.furnish()
                run = await world.request()
                await world.tell(ClaimRun("executor-1", 1), stream_of(RUN, run))
                patch.setattr(world.log.reader, "ends", further)
                await asyncio.sleep(3 * LEASE_S)
                history = [recorded.event.type for recorded in await world.read_model.history(stream_of(RUN, run))]
                assert ("RunResumed" in history) is not there_are_more

    simulated(story())


def test_heartbeats_that_begin_anew_are_heard_from_their_beginning():
    """The topic was made anew: where the sweeper stood lies beyond its end."""

    async def story() -> None:
        world = World()
        feed, begun = world.log.reader.feed, []

        async def lost_at_first(start: Any) -> Any:
            opened = await feed(start)
            if all(partition.topic == EXECUTORS for partition in start):
                begun.append(dict(start))
                if len(begun) == 1:
                    opened._next.update(dict.fromkeys(start, 7))
            return opened

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.log.reader, "feed", lost_at_first)
            async with running(world.log, MemoryStateStores()), world.sweeping():
                await world.furnish()
                run = await world.request()
                await world.tell(ClaimRun("executor-1", 1), stream_of(RUN, run))
                await world.until(run, RunResumed)
                assert begun[1] == begun[0]

    simulated(story())


def test_a_silence_in_which_the_log_was_away_does_not_count():
    """A feed tells nothing then, as it does when nobody speaks."""

    async def story() -> None:
        world = World()
        ends, away = world.log.reader.ends, False

        async def answered(partitions: Any) -> Any:
            if away:
                raise LogUnavailable("no brokers")
            return await ends(partitions)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.log.reader, "ends", answered)
            async with running(world.log, MemoryStateStores()), world.sweeping():
                await world.furnish()
                run = await world.request()
                await world.tell(ClaimRun("executor-1", 1), stream_of(RUN, run))
                away = True
                await asyncio.sleep(2 * LEASE_S)
                back_at, away = world.clock.monotonic(), False
                await world.until(run, RunResumed)
                assert LEASE_S < world.clock.monotonic() - back_at < LEASE_S + 5

    simulated(story())


def refusing(world: World, patch: pytest.MonkeyPatch, refused: Callable[[Partition], bool], after_s: float = 0) -> None:
    """The log goes on being read and does not take what is `refused`; it says so after so many seconds."""
    publish = world.log.records.publish

    async def published(partition: Partition, records: Any) -> int:
        if refused(partition):
            await asyncio.sleep(after_s)
            raise LogUnavailable("too few replicas in sync")
        return await publish(partition, records)

    patch.setattr(world.log.records, "publish", published)


@pytest.mark.parametrize("refused_s", [2 * LEASE_S + tenths / 10 for tenths in range(0, 10, 3)])
@pytest.mark.parametrize("commands_too", [True, False])
def test_executors_whose_heartbeats_the_log_refuses_keep_their_runs(refused_s: float, commands_too: bool):
    async def story() -> None:
        world = World()
        refuses, send = False, world.log.sender.send

        async def sent(command: Any) -> None:
            if refuses and commands_too:
                raise LogUnavailable("too few replicas in sync")
            await send(command)

        with pytest.MonkeyPatch.context() as patch:
            refusing(world, patch, lambda partition: refuses)
            patch.setattr(world.log.sender, "send", sent)
            world.fleet.seconds = 100.0
            async with working(world, 2), world.sweeping():
                await world.furnish(targets=2)
                run = await world.request()
                await world.until(run, StepStarted, 2)
                refuses = True
                await asyncio.sleep(refused_s)
                refuses = False
                assert (await world.finished(run)).state == "succeeded"
                await world.sound(run)

    simulated(story())


@pytest.mark.parametrize("after_s", [0, 10])
def test_a_dead_executor_is_expired_when_the_log_takes_writes_again_and_at_once_where_it_takes_them(after_s: float):
    """Nobody else writes, and no other executor lives."""

    async def story() -> None:
        world = World()
        here, there = "executor-1", next(f"executor-{n}" for n in range(2, 99) if shard_of(f"executor-{n}", SHARDS) != SHARD_1)
        refuses = True

        with pytest.MonkeyPatch.context() as patch:
            refusing(world, patch, lambda partition: refuses and partition.shard == SHARD_1, after_s)
            async with running(world.log, MemoryStateStores()), world.sweeping() as sweeper:
                await world.furnish()
                runs = {executor: await world.request(number) for number, executor in enumerate((here, there), 1)}
                for executor, run in runs.items():
                    await world.tell(ClaimRun(executor, 1), stream_of(RUN, run))
                await world.until(runs[there], RunResumed)
                assert LEASE_S < world.clock.monotonic() < LEASE_S + 5
                assert sweeper.trouble is None
                await asyncio.sleep(2 * LEASE_S)
                assert not any(isinstance(event, RunResumed) for event in await world.of(runs[here]))
                trouble = sweeper.trouble or ""
                assert "s keeps its runs, since executors/" in trouble and trouble.endswith("too few replicas in sync"), trouble
                since, refuses = world.clock.monotonic(), False
                await world.until(runs[here], RunResumed)
                assert world.clock.monotonic() - since < LEASE_S + 5
                await asyncio.sleep(5)
                assert sweeper.trouble is None

    simulated(story())


def test_the_shortest_lease_ends_as_well():
    """Half of it is shorter than the time between two looks usually is."""

    async def story() -> None:
        world = World()
        async with running(world.log, MemoryStateStores()), world.sweeping(lease_s=1.0):
            await world.furnish()
            run = await world.request()
            await world.tell(ClaimRun("executor-1", 1), stream_of(RUN, run))
            await world.until(run, RunResumed)

    simulated(story())


@pytest.mark.parametrize(
    ("what", "unable"),
    [
        ("the log", "the heartbeats have not been heard within half a lease (7.5 s)"),
        ("the read models", "no claims have been judged in time"),
    ],
)
def test_it_says_when_it_cannot_judge(what: str, unable: str):
    async def story() -> None:
        world = World()
        async with running(world.log, MemoryStateStores()), world.sweeping() as sweeper:
            assert sweeper.trouble == "the heartbeats have not been heard within half a lease (7.5 s) yet"
            await asyncio.sleep(5)
            assert sweeper.trouble is None
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(world.read_model, "available", what == "the log")
                if what == "the log":
                    patch.setattr(world.log.reader, "ends", _away)
                await asyncio.sleep(10)
                assert sweeper.trouble is None, "it may be away for a moment"
                await asyncio.sleep(10)
                assert sweeper.trouble is not None and f"{unable} since" in sweeper.trouble
            await asyncio.sleep(5)
            assert sweeper.trouble is None

    simulated(story())


@pytest.mark.parametrize(
    ("what", "query_s", "ends_s", "said"),
    [
        ("the read models", 20.0, 0, "no claims have been judged in time since {} s: the read models took 20.0 s to answer"),
        (
            "the log",
            0,
            8.0,
            "the heartbeats have not been heard within half a lease (7.5 s) since {} s: the log took 9.0 s to answer",
        ),
    ],
)
def test_while_what_it_asks_is_slow_it_says_so_all_the_time(what: str, query_s: float, ends_s: float, said: str):
    async def story() -> None:
        world = World()
        unfinished, ends = world.read_model.unfinished_runs, world.log.reader.ends
        with pytest.MonkeyPatch.context() as patch:
            async with running(world.log, MemoryStateStores()), world.sweeping() as sweeper:
                await asyncio.sleep(5)
                patch.setattr(world.read_model, "unfinished_runs", slow(unfinished, query_s))
                patch.setattr(world.log.reader, "ends", slow(ends, ends_s))
                began = world.clock.monotonic()
                await asyncio.sleep(40)
                for _ in range(60):
                    await asyncio.sleep(1)
                    trouble = sweeper.trouble or "none"
                    since = re.search(r"since (\d+) s", trouble)
                    assert since and trouble == said.format(since[1]), trouble
                    assert abs(world.clock.monotonic() - began - int(since[1])) < 3, f"{what} is slow since then"
                patch.undo()
                await asyncio.sleep(25)
                assert sweeper.trouble is None

    simulated(story())


async def _away(partitions: Any) -> Any:
    raise LogUnavailable("no brokers")


def test_several_sweepers_expire_a_claim_once():
    async def story() -> None:
        world = World()
        async with running(world.log, MemoryStateStores()), world.sweeping(), world.sweeping():
            await world.furnish()
            run = await world.request()
            await world.tell(ClaimRun("executor-dead", 1), stream_of(RUN, run))
            await world.until(run, RunResumed)
            assert LEASE_S < world.clock.monotonic() < LEASE_S + 5
            history = [recorded.event for recorded in await world.read_model.history(stream_of(RUN, run))]
            assert [event.type for event in history] == ["RunRequested", "RunClaimed", "RunResumed"]
            assert history[2].actor.name == "system:sweeper" and history[2].causation_id == history[1].event_id
            assert history[2].correlation_id == history[0].correlation_id

    simulated(story())


def test_an_expiry_is_the_same_command_whoever_sends_it():
    async def story() -> None:
        world = World()
        async with running(world.log, MemoryStateStores()):
            await world.furnish()
            run = await world.request()
            await world.tell(ClaimRun("executor-1", 1), stream_of(RUN, run))
            await world.until(run, RunClaimed)
            history = [recorded.event for recorded in await world.read_model.history(stream_of(RUN, run))]
            watch = LeaseWatch(15.0, SHARDS, 0.0)
            watch.heard([beat(leaving=True)], 1.0)
            watch.listened(1.0)
            (claim,) = watch.over([UnfinishedRun(run, 2, "executor-1", 1)])
            first, second = (expiry(claim, history, now_by(FakeClock())) for _ in range(2))
            assert first and second and first.command_id == second.command_id
            assert expiry(claim, [], now_by(FakeClock())) is None

    simulated(story())

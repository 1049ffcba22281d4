"""The owner's loop on the memory log: what is new is recovered, what is committed is told, what goes wrong is started over."""

import asyncio
import logging
from dataclasses import replace

import pytest

import commands.owner
from commands import deciders
from commands.owner import Bounds
from commands.state_store import StateStoreFailed, StateStoreLost
from domain.decider import Decider
from infra.memory.log import MemoryLog
from infra.memory.state_store import MemoryStateStores
from schemas.log import CommitAborted, LogUnavailable
from schemas.outcome import Outcome
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.topics import COMMANDS_PEOPLE, OUTCOMES
from schemas.wire import WireRecord, encode_command
from tests.commands.owning import BOUNDS, Running, codes, everything, owner_of, owner_with, running, sound_events, told
from tests.support.builders import (
    claim_run,
    define_job,
    fail_run,
    job_definition,
    register_target,
    request_run,
    retitle_target,
    run_of,
)
from tests.support.eventually import eventually_async


@pytest.fixture
def log():
    return MemoryLog(4)


@pytest.fixture
def stores():
    return MemoryStateStores()


async def outcomes_in(log):
    return [record.body for record in await everything(log, [OUTCOMES]) if isinstance(record.body, Outcome)]


async def test_commands_are_decided_and_told(log, stores):
    async with running(log, stores) as owner:
        outcomes = await told(log, register_target("a"), register_target("a"), retitle_target("a"), define_job(), request_run())
    assert codes(outcomes) == ["accepted", "target_exists", "accepted", "accepted", "accepted"]
    assert [event.type for event in await sound_events(log) if event.stream == "target/a"] == [
        "TargetRegistered",
        "TargetRetitled",
    ]
    assert (owner.counters.accepted, owner.counters.rejected) == (4, {"target_exists": 1})
    assert owner.counters.events == 4


async def test_a_chain_goes_on_over_transactions_and_restarts(log, stores):
    for round_ in range(3):
        async with running(log, stores):
            await told(log, *[register_target(f"t-{round_}-{n}") for n in range(20)])
    assert len(await sound_events(log)) == 60


# --- duplicates -------------------------------------------------------------------------------------------------------


async def test_a_command_sent_again_is_told_the_same_across_batches(log, stores):
    command = register_target()
    async with running(log, stores) as owner:
        first = await told(log, command)
        for _ in range(3):
            await log.sender.send(command)
        await told(log, retitle_target())
    assert [o for o in await outcomes_in(log) if o.command_id == command.command_id] == first * 4
    assert owner.counters.duplicates == 3
    assert len(await sound_events(log)) == 2


@pytest.mark.parametrize("snapshot", [True, False])
async def test_a_command_sent_again_after_a_restart_is_told_the_same(log, stores, snapshot):
    commands = [register_target(), retitle_target("nobody")]
    async with running(log, stores):
        first = await told(log, *commands)
    async with running(log, stores if snapshot else MemoryStateStores()) as owner:
        await log.sender.send(commands[0])
        await log.sender.send(commands[1])
        await told(log, retitle_target())
    kept = await outcomes_in(log)
    for command, outcome in zip(commands, first, strict=True):
        assert [o for o in kept if o.command_id == command.command_id] == [outcome] * 2
    assert owner.counters.duplicates == 2


async def test_an_outcome_saved_long_ago_is_still_known(log, stores):
    command = register_target()
    bounds = replace(BOUNDS, save_every_commands=1)
    async with running(log, stores, bounds=bounds) as owner:
        await told(log, command)
        for n in range(10):
            await told(log, retitle_target(title=f"title {n}"))
        await log.sender.send(command)
        await told(log, retitle_target(title="last"))
    assert owner.counters.duplicates == 1
    assert len([e for e in await sound_events(log) if e.type == "TargetRegistered"]) == 1


# --- restart and recovery ---------------------------------------------------------------------------------------------


async def test_a_restart_replays_only_what_is_new(log, stores):
    async with running(log, stores):
        await told(log, *[register_target(f"t-{n}") for n in range(300)])
    async with running(log, stores) as again:
        await told(log, retitle_target("t-0"))
    assert again.counters.replayed_events == 0
    crashed = Running(owner_of(log, stores))
    await told(log, *[retitle_target(f"t-{n}", "new") for n in range(7)])
    await crashed.end()
    async with running(log, stores) as last:
        assert codes(await told(log, retitle_target("t-0", "newest", expected_version=3))) == ["accepted"]
    assert last.counters.replayed_events == 7
    assert len(await sound_events(log)) == 309


async def test_a_restart_replays_few_outcomes_when_snapshots_were_saved_under_way(log, stores):
    async with running(log, stores, bounds=replace(BOUNDS, save_every_commands=1)):
        for n in range(50):
            await told(log, register_target(f"t-{n}"))
    async with running(log, stores) as again:
        await told(log, retitle_target("t-0"))
    assert again.counters.replayed_outcomes <= 2 * log.shards
    assert again.counters.replayed_events == 0


async def _is(value):
    return value


async def test_thousands_of_finished_runs_leave_memory_flat():
    log, stores = MemoryLog(1), MemoryStateStores()
    bounds = replace(BOUNDS, cached_streams=100, save_every_commands=200, batch=100)
    async with running(log, stores, bounds=bounds) as owner:
        await told(log, define_job())
        most = 0
        for start in range(0, 3_000, 500):
            runs = [run_of(number=n) for n in range(start, start + 500)]
            await told(log, *[make(run) for run in runs for make in (request_run, claim_run, fail_run)][:-1])
            await told(log, fail_run(runs[-1]))
            most = max(most, owner.entries)
        assert codes(await told(log, fail_run(run_of(number=0)), claim_run(run_of(number=1_500)))) == ["run_finished"] * 2
    assert owner.counters.accepted == 9_001
    assert most < 2_000
    async with running(log, stores, bounds=bounds) as again:
        assert codes(await told(log, request_run(run_of(number=0)))) == ["run_exists"]
        assert again.entries < 1_000
    assert again.counters.replayed_events == 0


async def test_rosters_survive_a_restart(log, stores):
    first, second = run_of(number=1), run_of(number=2)
    for kept in (stores, stores, MemoryStateStores()):
        async with running(log, kept):
            if kept is stores and not (await everything(log)):
                await told(log, define_job(definition=job_definition(concurrency="forbid")), request_run(first))
            assert codes(await told(log, request_run(second))) == ["job_is_running"]
    async with running(log, stores):
        outcomes = await told(log, claim_run(first), fail_run(first))
        assert codes(outcomes + await told(log, request_run(second))) == ["accepted"] * 3


# --- what goes wrong --------------------------------------------------------------------------------------------------


async def test_an_undecodable_command_is_answered_and_passed(log, stores):
    log.put(Partition(COMMANDS_PEOPLE, 1), WireRecord(b"target/x", b"\xff\xfe"))
    wrong_shard = (shard_of("target/web-01", 4) + 1) % 4
    log.put(Partition(COMMANDS_PEOPLE, wrong_shard), encode_command(register_target()))
    async with running(log, stores) as owner:
        await told(log, register_target("a"))
        await eventually_async(lambda: _is(owner.counters.rejected["undecodable_command"] == 2))
    assert [e.stream for e in await sound_events(log)] == ["target/a"]


async def test_a_bug_in_a_decider_is_logged_without_its_payload(log, stores, monkeypatch, caplog):
    def broken(command, state, companion):
        raise KeyError(command.host)

    real = deciders.TABLE["target"]
    decider = Decider(real.decider.initial_state, broken, real.decider.fold)
    monkeypatch.setitem(deciders.TABLE, "target", replace(real, decider=decider))
    async with running(log, stores) as owner:
        with caplog.at_level(logging.ERROR):
            outcomes = await told(log, register_target(correlation_id="c-99"), define_job())
    assert codes(outcomes) == ["internal_error", "accepted"]
    assert owner.counters.rejected == {"internal_error": 1}
    assert "c-99" in caplog.text and "in broken" in caplog.text
    assert "web-01.example.org" not in caplog.text


async def test_an_aborted_transaction_is_replayed(log, stores):
    left = 3

    async def abort(moment, transaction):
        nonlocal left
        await asyncio.sleep(0)
        if moment == "produced" and left:
            left -= 1
            raise CommitAborted("the test says so")

    log.at = abort
    async with running(log, stores) as owner:
        outcomes = await told(log, register_target(), retitle_target(), retitle_target(title="b", expected_version=2))
    assert codes(outcomes) == ["accepted"] * 3
    assert owner.counters.aborted == 3
    assert len(await sound_events(log)) == 3


async def test_an_unavailable_log_is_asked_again_with_growing_pauses(log, stores):
    owner = owner_of(log, stores)
    real, pauses, left = owner._ports.log.take, [], 5

    async def take(limit, within_s, without):
        nonlocal left
        left -= 1
        if left >= 0:
            raise LogUnavailable("down")
        return await real(limit, within_s, without)

    async def sleep(seconds):
        pauses.append(seconds)

    owner._ports.log.take = take
    owner._ports = replace(owner._ports, sleep=sleep)
    run = Running(owner)
    assert codes(await told(log, register_target())) == ["accepted"]
    await run.stop()
    assert pauses == [0.001, 0.002, 0.004, 0.008, 0.016]
    assert owner.counters.unavailable == 5


async def test_a_fenced_owner_forgets_recovers_and_goes_on(log, stores):
    async with running(log, stores) as owner:
        await told(log, register_target())
        log.fence("one")
        assert codes(await told(log, retitle_target(), retitle_target(title="b", expected_version=2))) == ["accepted"] * 2
        recoveries = owner.counters.recoveries
    assert recoveries == 2 * log.shards
    assert len(await sound_events(log)) == 3


async def test_a_broken_state_store_is_discarded_and_the_shards_recovered_from_the_log(log, stores):
    async with running(log, stores, bounds=replace(BOUNDS, save_every_commands=1, cached_streams=1)) as owner:
        await told(log, *[register_target(f"t-{n}") for n in range(10)])
        store = stores._stores[shard_of("target/t-0", 4)]
        store._streams = {name: replace(kept, state=b"broken") for name, kept in store._streams.items()}
        outcomes = await told(log, *[retitle_target(f"t-{n}", expected_version=1) for n in range(10)])
        assert codes(outcomes) == ["accepted"] * 10
        assert owner.counters.store_failures == 1
    assert len(await sound_events(log)) == 20


async def test_a_save_that_fails_loses_nothing(log, stores):
    fails = 2

    class Failing(MemoryStateStores):
        async def open(self, shard):
            store = await super().open(shard)
            real = store.save

            async def save(changes):
                nonlocal fails
                if fails:
                    fails -= 1
                    raise StateStoreFailed("disk full")
                await real(changes)

            store.save = save
            return store

    async with running(log, Failing(), bounds=replace(BOUNDS, save_every_commands=1)) as owner:
        for n in range(5):
            assert codes(await told(log, register_target(f"t-{n}"))) == ["accepted"]
    assert owner.counters.store_failures == 2
    assert len(await sound_events(log)) == 5


async def test_a_store_that_can_neither_be_read_nor_thrown_away_is_closed_all_the_same(log):
    closed = []

    class Broken(MemoryStateStores):
        async def open(self, shard):
            store = await super().open(shard)

            async def fails(*_):
                raise StateStoreFailed("read-only file system")

            async def close():
                closed.append(shard)

            store.mark = store.discard = fails
            store.close = close
            return store

    run = Running(owner_of(log, Broken()))
    with pytest.raises(StateStoreLost):
        await asyncio.wait_for(run.task, 20)
    assert set(closed) == set(range(log.shards))


class Unopenable(MemoryStateStores):
    """Those of one shard cannot be opened, not even begun anew, so many times in a row."""

    def __init__(self, times):
        super().__init__()
        self._left = times

    async def open(self, shard):
        if shard == 2 and self._left:
            self._left -= 1
            raise StateStoreFailed("permission denied")
        return await super().open(shard)


async def test_an_owner_that_has_no_place_for_a_shard_s_state_ends_so_that_another_may_have_its_shards(log, stores):
    run = Running(owner_of(log, Unopenable(1_000)))
    with pytest.raises(StateStoreLost, match=r"shard 2 .* 10 times in a row: permission denied"):
        await asyncio.wait_for(run.task, 20)
    assert run.owner.counters.store_failures == BOUNDS.recoveries - 1
    async with running(log, stores, "two"):
        assert codes(await told(log, *[register_target(f"t-{n}") for n in range(10)])) == ["accepted"] * 10


async def test_an_owner_that_gets_it_in_the_end_goes_on(log):
    async with running(log, Unopenable(BOUNDS.recoveries - 1)):
        assert codes(await told(log, *[register_target(f"t-{n}") for n in range(10)])) == ["accepted"] * 10


async def test_a_batch_larger_than_a_transaction_is_committed_in_parts(log, stores):
    commands = [register_target(f"t-{n}") for n in range(30)]
    for command in commands:
        await log.sender.send(command)
    async with running(log, stores, bounds=replace(BOUNDS, transaction_bytes=10_000)) as owner:
        assert codes([await log.outcomes.wait(c.command_id, 60) for c in commands]) == ["accepted"] * 30
    assert owner.counters.transactions > 2
    assert owner.counters.duplicates == 0
    assert len(await sound_events(log)) == 30


class Slow:
    """Owned shards of which each commit waits until it is let go; what is begun is noted."""

    def __init__(self, inner):
        self._inner, self.begun, self._may_end, self.fails_once = inner, [], asyncio.Event(), False

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def let_go(self):
        self._may_end.set()

    async def commit(self, taken, events, outcomes):
        self.begun.append(len(outcomes))
        await self._may_end.wait()
        if self.fails_once:
            self.fails_once = False
            raise CommitAborted("the broker says so")
        return await self._inner.commit(taken, events, outcomes)


async def settling_while_the_first_of_three_transactions_is_being_committed(log, stores, monkeypatch):
    """An owner of six commands, two a transaction, that has begun its first commit and nothing else."""
    settled = []
    real = commands.owner.settle
    monkeypatch.setattr("commands.owner.settle", lambda command, shard: settled.append(command) or real(command, shard))
    sent = [register_target("a"), *(retitle_target("a", title=f"title {n}", expected_version=n) for n in range(1, 6))]
    for command in sent:
        await log.sender.send(command)
    owned = Slow(log.owned_shards("one"))
    run = Running(owner_with(owned, log, stores, replace(BOUNDS, transaction=2)))
    await eventually_async(lambda: _is(len(settled) == 4))
    await asyncio.sleep(0.05)
    assert (len(settled), owned.begun) == (4, [2]), "the next is settled, none is begun behind it"
    assert await everything(log) == []
    return run, owned, sent


async def test_the_next_transaction_is_settled_while_one_is_being_committed_and_begun_after_it(log, stores, monkeypatch):
    run, owned, sent = await settling_while_the_first_of_three_transactions_is_being_committed(log, stores, monkeypatch)
    owned.let_go()
    assert codes([await log.outcomes.wait(c.command_id, 20) for c in sent]) == ["accepted"] * 6
    assert [event.version for event in await sound_events(log)] == [1, 2, 3, 4, 5, 6]
    await run.stop()
    assert owned.begun == [2, 2, 2] and run.owner.counters.transactions == 3


async def test_what_is_settled_behind_a_transaction_that_is_aborted_is_settled_anew_with_it(log, stores, monkeypatch):
    run, owned, sent = await settling_while_the_first_of_three_transactions_is_being_committed(log, stores, monkeypatch)
    owned.fails_once = True
    owned.let_go()
    assert codes([await log.outcomes.wait(c.command_id, 20) for c in sent]) == ["accepted"] * 6
    assert [event.version for event in await sound_events(log)] == [1, 2, 3, 4, 5, 6]
    await run.stop()
    assert run.owner.counters.aborted == 1 and owned.begun == [2, 2, 2, 2]


async def test_what_a_turn_had_committed_before_it_failed_is_saved_like_anything_else(log, stores):
    """Every second transaction is aborted, so no turn of more than one ends well."""
    owned, count = log.owned_shards("one"), 0
    real = owned.commit

    async def commit(*given):
        nonlocal count
        count += 1
        if count % 2 == 0:
            raise CommitAborted("the broker says so")
        return await real(*given)

    owned.commit = commit
    sent = [register_target(f"t-{n}") for n in range(40)]
    for command in sent:
        await log.sender.send(command)
    run = Running(owner_with(owned, log, stores, replace(BOUNDS, transaction=2, save_every_commands=4)))
    assert codes([await log.outcomes.wait(c.command_id, 20) for c in sent]) == ["accepted"] * 40
    assert run.owner.counters.saves >= 8
    await run.stop()


async def test_an_owner_that_is_cancelled_while_it_commits_leaves_no_commit_behind(log, stores, monkeypatch):
    run, owned, _ = await settling_while_the_first_of_three_transactions_is_being_committed(log, stores, monkeypatch)
    await run.end()
    owned.let_go()
    await asyncio.sleep(0.05)
    assert owned.begun == [2] and await everything(log) == []


async def test_an_owner_that_is_cancelled_as_it_begins_to_commit_leaves_no_commit_behind(log, stores):
    """Whichever of its steps it is in: cancelled after one more turn of the loop each time."""
    for turns in range(60):
        owned = Slow(log.owned_shards(f"n{turns}"))
        run = Running(owner_with(owned, log, MemoryStateStores(), replace(BOUNDS, transaction=2)))
        for n in range(4):
            await log.sender.send(register_target(f"t-{turns}-{n}"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await run.end()
        assert not [t for t in asyncio.all_tasks() - {asyncio.current_task()} if "Owner." in repr(t)], turns


async def test_stopping_is_quick_and_passes_the_shards_on(log, stores):
    first = Running(owner_of(log, stores, "one"))
    await told(log, register_target())
    await first.stop()
    async with running(log, MemoryStateStores(), "two"):
        assert codes(await told(log, retitle_target())) == ["accepted"]


async def test_an_idle_owner_saves_what_it_has(log, stores):
    async with running(log, stores, bounds=Bounds(take_s=0.01, save_every_s=0.05)) as owner:
        await told(log, register_target())
        await eventually_async(lambda: _is(owner.counters.saves > 0))
        saves = owner.counters.saves
        await asyncio.sleep(0.2)
        assert owner.counters.saves == saves, "nothing new, nothing to save"

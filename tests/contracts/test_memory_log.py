"""What only the memory log promises: fake time, the same order every time, crashes at will, several members."""

import asyncio
import random

import pytest

from infra.memory.log import MemoryLog
from schemas.log import CommitAborted, OwnershipLost
from tests.contracts.memory_harness import MemoryHarness
from tests.contracts.records import command, event, outcome
from tests.contracts.working import commit_all, read_to_end, take_all

HARNESS = MemoryHarness()


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when nothing is left to do, and then at once."""

    def __init__(self):
        super().__init__()
        self._now = 0.0
        select = self._selector.select

        def pass_time(timeout):
            self._now += timeout or 0.0
            return select(0)

        self._selector.select = pass_time

    def time(self):
        return self._now


def run(main):
    """The result of a coroutine on a loop with fake time, and how much of that time passed."""
    loop = FakeTimeLoop()
    try:
        return loop.run_until_complete(main), loop.time()
    finally:
        loop.close()


def test_waits_take_the_loops_time_only():
    async def wait():
        log = MemoryLog(2)
        feed = await log.reader.feed({})
        assert await log.outcomes.wait(command().command_id, 3_600.0) is None
        assert not (await log.owned_shards("one").take(1, 3_600.0)).commands
        assert await feed.read(1, 3_600.0) == ()

    _, passed = run(wait())
    assert passed == pytest.approx(3 * 3_600)


def test_the_same_seed_gives_the_same_order():
    async def work(seed):
        log, dice, seen = MemoryLog(4), random.Random(seed), []

        async def send(name):
            for number in range(10):
                await asyncio.sleep(dice.random())
                await log.sender.send(command(number, stream=f"target/{name}"))

        async def own(name):
            owner = log.owned_shards(name)
            while len(seen) < 30:
                taken = await owner.take(3, dice.random())
                await commit_all(owner, taken)
                seen.extend((name, c.position) for c in taken.commands)

        await asyncio.gather(send("a"), send("b"), send("c"), own("x"), own("y"))
        return seen

    first, again, other = run(work(1)), run(work(1)), run(work(2))
    assert first == again
    assert first != other


async def test_shards_are_divided_among_the_members_and_come_back_when_one_leaves():
    log = MemoryLog(5)
    one = log.owned_shards("one")
    alone = (await one.take(1, 0)).shards
    two = log.owned_shards("two")
    shared, others = (await one.take(1, 0)).shards, (await two.take(1, 0)).shards
    assert set(alone) == set(shared) | set(others) == set(range(5))
    assert not set(shared) & set(others)
    assert all(shared[shard] == alone[shard] for shard in shared)
    await two.close()
    back = (await one.take(1, 0)).shards
    assert all(back[shard] > alone[shard] for shard in others)
    assert all(back[shard] == alone[shard] for shard in shared)


async def test_a_crash_between_produce_and_commit_holds_readers_back_until_the_instance_comes_again():
    log = MemoryLog(2)
    cause = command()
    await log.sender.send(cause)

    async def crash(moment, transaction):
        if moment == "offsets sent":
            raise KeyboardInterrupt

    log.at = crash
    dead = log.owned_shards("one")
    with pytest.raises(KeyboardInterrupt):
        await commit_all(dead, await take_all(HARNESS, dead, 1))
    heir = log.owned_shards("two")
    log.fence("one")
    assert set((await heir.take(1, 0.01)).shards) == {0, 1}
    assert not (await heir.take(1, 0.01)).commands, "the position is in doubt while the transaction is"
    with pytest.raises(AssertionError, match="the feed stays"):
        await read_to_end(Impatient, log, "targets")
    log.expire("one")
    log.at = MemoryLog(1).at
    await commit_all(heir, await take_all(HARNESS, heir, 1))
    assert [r.body.command_id for r in await read_to_end(HARNESS, log, "targets")] == [cause.command_id]


class Impatient:
    patience_s = 0.2


async def test_a_transaction_past_its_fence_may_still_commit_after_the_take_over_and_the_heir_waits_for_it():
    log = MemoryLog(1)
    cause = command()
    await log.sender.send(cause)
    slow = log.owned_shards("slow")
    taken = await take_all(HARNESS, slow, 1)
    staged = await HARNESS.stage(log, slow, taken, [event(cause)], [outcome(cause)])
    log.fence("slow")
    heir = log.owned_shards("heir")
    assert not (await heir.take(1, 0.01)).commands
    await staged.commit()
    assert not (await heir.take(1, 0.01)).commands, "it was committed, so it is consumed"
    assert len(await read_to_end(HARNESS, log, "targets")) == 1


async def test_a_second_process_of_one_name_fences_the_first_for_good():
    log = MemoryLog(2)
    await log.sender.send(command())
    first = log.owned_shards("same")
    taken = await take_all(HARNESS, first, 1)
    second = log.owned_shards("same")
    with pytest.raises(OwnershipLost):
        await commit_all(first, taken)
    with pytest.raises(OwnershipLost, match="another process runs as same"):
        await first.take(1, 0.01)
    await commit_all(second, await take_all(HARNESS, second, 1))


async def test_an_aborted_transactions_offsets_stay_used():
    log = MemoryLog(1)
    await log.sender.send(command(1))
    owner = log.owned_shards("one")
    taken = await take_all(HARNESS, owner, 1)
    staged = await HARNESS.stage(log, owner, taken, [event(taken.commands[0].body)], [])
    await staged.abort()
    (position,) = await owner.commit(taken, [event(taken.commands[0].body)], [])
    assert position.offset > 0


async def test_a_member_fenced_between_produce_and_its_fence_check_leaves_nothing():
    log = MemoryLog(1)
    await log.sender.send(command())

    async def fence(moment, transaction):
        if moment == "produced":
            log.fence("one")

    log.at = fence
    owner = log.owned_shards("one")
    with pytest.raises(OwnershipLost):
        await commit_all(owner, await take_all(HARNESS, owner, 1))
    assert await read_to_end(HARNESS, log, "targets", "outcomes") == []


async def test_an_abort_is_told_as_commit_aborted():
    log = MemoryLog(1)
    await log.sender.send(command())

    async def abort(moment, transaction):
        raise CommitAborted("the test")

    log.at = abort
    owner = log.owned_shards("one")
    with pytest.raises(CommitAborted):
        await commit_all(owner, await take_all(HARNESS, owner, 1))

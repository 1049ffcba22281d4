"""Commands of some shards are left waiting while those of others are taken, on every adapter."""

import asyncio

import pytest

from infra.kafka import lanes
from schemas.partitioning import shard_of
from tests.contracts.records import EXECUTOR, command
from tests.contracts.working import commit_all, take_all, take_some

LEFT, OTHER = "target/left", "target/other"


@pytest.fixture
def left(harness):
    """The shard to leave; the other stream lies elsewhere."""
    assert shard_of(LEFT, harness.shards) != shard_of(OTHER, harness.shards)
    return {shard_of(LEFT, harness.shards)}


async def send(log, stream, count, start=0, **more):
    sent = [command(number, stream=stream, **more) for number in range(start, start + count)]
    for each in sent:
        await log.sender.send(each)
    return sent


async def taken_without(harness, owner, left, count, limit=100):
    """What is handed out of all but these shards, committed as it comes, until there are so many."""
    seen = []
    async with asyncio.timeout(harness.patience_s):
        while len(seen) < count:
            taken = await owner.take(limit, 0.2, without=left)
            assert len(taken.commands) <= limit
            assert set(taken.shards) in ({*range(harness.shards)}, set()), "those that are left are owned all the same"
            seen += [c.body for c in taken.commands]
            await commit_all(owner, taken)
    return seen


async def nothing_waits(harness, owner, without=frozenset()):
    assert not (await owner.take(100, harness.glance_s, without=without)).commands


async def test_what_is_left_comes_in_order_from_the_committed_position_when_it_is_left_no_more(harness, left):
    log = await harness.open()
    decided = await send(log, LEFT, 3)
    owner = log.owned_shards("one")
    assert await taken_without(harness, owner, set(), 3) == decided
    before = await send(log, LEFT, 5, start=3)
    await owner.abandon(await take_all(harness, owner, 5))
    others = await send(log, OTHER, 5)
    assert await taken_without(harness, owner, left, 5) == others
    meanwhile = await send(log, LEFT, 5, start=8)
    others = await send(log, OTHER, 5)
    assert await taken_without(harness, owner, left, 5) == others
    await nothing_waits(harness, owner, left)
    assert await taken_without(harness, owner, set(), 10, limit=3) == [*before, *meanwhile]
    await nothing_waits(harness, owner)
    await owner.close()


async def test_a_shard_may_be_left_again_and_again(harness, left):
    log = await harness.open()
    owner = log.owned_shards("one")
    sent, seen = [], []
    for turn in range(4):
        sent += await send(log, LEFT, 3, start=3 * turn)
        others = await send(log, OTHER, 2)
        assert await taken_without(harness, owner, left, 2) == others
        seen += await taken_without(harness, owner, set(), 2, limit=2)
    seen += await taken_without(harness, owner, set(), len(sent) - len(seen))
    assert seen == sent
    await nothing_waits(harness, owner)
    await owner.close()


async def test_a_take_that_leaves_all_that_waits_is_empty_in_time_and_a_command_for_another_shard_ends_its_wait(harness, left):
    log = await harness.open()
    await send(log, LEFT, 3)
    owner = log.owned_shards("one")
    await take_all(harness, owner, 3)
    await nothing_waits(harness, owner, left)
    waiting = asyncio.create_task(taken_without(harness, owner, left, 1))
    await asyncio.sleep(0)
    await send(log, LEFT, 3, start=3)
    assert await send(log, OTHER, 1) == await waiting
    await owner.close()


async def test_people_are_served_before_roles_and_the_limit_is_kept_whatever_is_left(harness, left):
    log = await harness.open()
    await send(log, LEFT, 30)
    await send(log, LEFT, 30, actor=EXECUTOR)
    roles = await send(log, OTHER, 10, actor=EXECUTOR)
    people = await send(log, OTHER, 3)
    owner = log.owned_shards("one")
    await owner.abandon(await take_all(harness, owner, 73))
    seen = await taken_without(harness, owner, left, 13, limit=4)
    assert (seen[:3], seen[3:]) == (people, roles)
    await owner.close()


async def test_a_flood_for_a_shard_that_is_left_holds_up_nobody_and_none_of_it_is_lost(harness, left, monkeypatch):
    monkeypatch.setattr(lanes, "_HELD_BYTES", 20_000)
    log = await harness.open()
    owner = log.owned_shards("one")
    flood = await send(log, LEFT, 200)
    await take_some(harness, owner, limit=1)
    for turn in range(3):
        others = await send(log, OTHER, 20, start=20 * turn)
        assert await taken_without(harness, owner, left, 20, limit=7) == others
        flood += await send(log, LEFT, 100, start=200 + 100 * turn)
    assert await taken_without(harness, owner, set(), 500) == flood
    await nothing_waits(harness, owner)
    await owner.close()


async def test_what_an_owner_left_is_there_for_the_next_one(harness, left):
    log = await harness.open()
    sent = await send(log, LEFT, 5)
    owner = log.owned_shards("one")
    await send(log, OTHER, 1)
    await taken_without(harness, owner, left, 1)
    await owner.close()
    heir = log.owned_shards("two")
    assert await taken_without(harness, heir, set(), 5) == sent
    await heir.close()


async def test_a_shard_that_is_lost_and_won_again_while_it_is_left_stays_left_and_begins_at_the_committed_position(harness, left):
    log = await harness.open()
    owner = log.owned_shards("one")
    decided = await send(log, LEFT, 2)
    assert await taken_without(harness, owner, set(), 2) == decided
    waiting = await send(log, LEFT, 5, start=2)
    others = await send(log, OTHER, 1)
    assert await taken_without(harness, owner, left, 1) == others
    usurper = await harness.usurp(log, owner, "two")
    await usurper.close()
    others = await send(log, OTHER, 3)
    assert await taken_without(harness, owner, left, 3) == others
    await nothing_waits(harness, owner, left)
    assert await taken_without(harness, owner, set(), 5) == waiting
    await owner.close()

"""One owner a shard, whatever happens to it, on every adapter."""

import asyncio
import random
from collections import Counter

import pytest

from schemas.log import CommitAborted, OwnershipLost
from tests.contracts.records import command, event, outcome
from tests.contracts.working import commit_all, decide, read_to_end, take_all, take_some


async def test_a_zombie_woken_after_take_over_loses_its_ownership_and_nothing_of_it_is_visible(harness):
    log = await harness.open()
    causes = [command(number) for number in range(4)]
    for cause in causes:
        await log.sender.send(cause)
    zombie = log.owned_shards("zombie")
    stale = await take_all(harness, zombie, 4)
    heir = await harness.usurp(log, zombie, "heir")
    taken = await take_all(harness, heir, 4)
    with pytest.raises(OwnershipLost):
        await zombie.commit(stale, [event(c, payload=b'{"zombie": 1}') for c in causes], [outcome(c, 9) for c in causes])
    assert await read_to_end(harness, log) == []
    await commit_all(heir, taken)
    read = await read_to_end(harness, log, "targets")
    assert len(read) == 4
    assert all(r.body.payload != b'{"zombie": 1}' for r in read)
    assert await log.outcomes.find(causes[0].command_id) == outcome(causes[0])
    await zombie.close()
    await heir.close()


async def test_a_zombie_stays_without_effect_after_the_heir_has_committed_the_same_commands(harness):
    log = await harness.open()
    cause = command()
    await log.sender.send(cause)
    zombie = log.owned_shards("zombie")
    stale = await take_all(harness, zombie, 1)
    heir = await harness.usurp(log, zombie, "heir")
    await commit_all(heir, await take_all(harness, heir, 1))
    with pytest.raises(OwnershipLost):
        await commit_all(zombie, stale)
    assert len(await read_to_end(harness, log, "targets")) == 1
    await zombie.close()
    await heir.close()


async def test_every_tenure_differs_after_ownership_was_lost_and_won_again(harness):
    log = await harness.open()
    await log.sender.send(command())
    first = log.owned_shards("first")
    before = await take_all(harness, first, 1)
    heir = await harness.usurp(log, first, "heir")
    await take_all(harness, heir, 1)
    with pytest.raises(OwnershipLost):
        await commit_all(first, before)
    await heir.close()
    after = await owning_all(harness, first)
    assert set(after) == set(before.shards)
    assert all(after[shard] != before.shards[shard] for shard in after)
    await first.close()


async def test_a_batch_of_an_earlier_tenure_is_not_committed_in_a_later_one(harness):
    log = await harness.open()
    await log.sender.send(command())
    first = log.owned_shards("first")
    before = await take_all(harness, first, 1)
    heir = await harness.usurp(log, first, "heir")
    await take_all(harness, heir, 1)
    await heir.close()
    assert set(await owning_all(harness, first)) == set(before.shards)
    with pytest.raises(OwnershipLost):
        await commit_all(first, before)
    assert await read_to_end(harness, log) == []
    await commit_all(first, await take_all(harness, first, 1))
    assert len(await read_to_end(harness, log, "targets")) == 1
    await first.close()


async def test_shards_pass_on_at_once_when_their_owner_leaves_in_order(harness):
    log = await harness.open()
    cause = command()
    await log.sender.send(cause)
    first = log.owned_shards("first")
    await take_all(harness, first, 1)
    await first.close()
    second = log.owned_shards("second")
    assert [c.body for c in (await take_all(harness, second, 1)).commands] == [cause]
    await second.close()


async def test_a_tenure_stays_the_same_while_nothing_happens(harness):
    log = await harness.open()
    owner = await decide(harness, log, command(1))
    before = await owning_all(harness, owner)
    await log.sender.send(command(2))
    taken = await take_some(harness, owner)
    assert taken.shards == before
    await commit_all(owner, taken)
    assert (await owner.take(1, harness.glance_s)).shards == before
    await owner.close()


async def test_two_owners_fighting_over_the_shards_never_commit_one_command_twice(harness):
    log = await harness.open()
    causes = [command(number % 7) for number in range(150)]
    dice = random.Random(8)
    decided = Counter()

    async def fight(name):
        owner = log.owned_shards(name)
        while decided.total() < len(causes):
            taken = await owner.take(dice.randint(1, 6), 0.05)
            if not taken.commands:
                continue
            try:
                await commit_all(owner, taken)
            except OwnershipLost:
                # As an owner does: two that rejoin at once in lock-step would take the shards from each other for ever.
                await asyncio.sleep(dice.random() / 50)
                continue
            except CommitAborted:
                await owner.abandon(taken)
                continue
            decided.update(c.body.command_id for c in taken.commands)
            if dice.random() < 0.1:
                await owner.close()
                owner = log.owned_shards(name)
        await owner.close()

    async def send():
        for cause in causes:
            await log.sender.send(cause)

    await asyncio.wait_for(asyncio.gather(send(), fight("red"), fight("blue")), 10 * harness.patience_s)
    told = Counter(r.body.command_id for r in await read_to_end(harness, log, "targets"))
    assert told == {cause.command_id: 1 for cause in causes}
    assert decided == told


async def owning_all(harness, owner):
    """The shards and tenures of an owner, once it has them all."""
    deadline = asyncio.get_running_loop().time() + harness.patience_s
    while len(shards := (await owner.take(1, 0.05)).shards) < harness.shards:
        assert asyncio.get_running_loop().time() < deadline, f"owns only {sorted(shards)}"
    return shards

"""A foreign record in one shard, written past all owners: on every adapter the other shards are served, after restarts too."""

import asyncio
from dataclasses import replace

from infra.memory.state_store import MemoryStateStores
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.unserved import UnservedShard
from schemas.wire import WireRecord
from tests.commands.owning import BOUNDS, codes, running, told
from tests.contracts.working import read_to_end
from tests.support.builders import register_target, retitle_target

AGAIN_AT_ONCE = replace(BOUNDS, recovery_again_s=0.2)


async def test_the_other_shards_are_served_and_the_commands_of_this_one_wait_over_restarts(harness):
    log, stores = await harness.open(), MemoryStateStores()
    names = {shard_of(f"target/t-{number}", harness.shards): f"t-{number}" for number in range(40)}
    bad, within = shard_of(f"target/{names[0]}", harness.shards), harness.patience_s
    async with running(log, stores, bounds=AGAIN_AT_ONCE):
        await told(log, *[register_target(name) for name in names.values()], within=within)
    await harness.put(log, Partition("targets", bad), WireRecord(b"target/x", b"garbage"))
    (foreign,) = [r.position for r in await read_to_end(harness, log, "targets") if r.position.shard == bad][1:]
    waiting = retitle_target(names[bad], "waits")
    await log.sender.send(waiting)
    others = [name for shard, name in names.items() if shard != bad]
    for turn in range(2):
        async with running(log, stores, bounds=AGAIN_AT_ONCE) as owner:
            outcomes = await told(log, *[retitle_target(name, f"title {turn}") for name in others], within=within)
            assert codes(outcomes) == ["accepted"] * len(others)
            async with asyncio.timeout(within):
                while not owner.unserved:
                    await asyncio.sleep(0.05)
            assert list(owner.unserved) == [UnservedShard(bad, "not_an_event", foreign)]
            assert await log.outcomes.find(waiting.command_id) is None
    owned = log.owned_shards("who looks")
    async with asyncio.timeout(within):
        while not (taken := await owned.take(10, 0.2)).commands:
            pass
    assert [c.body.command_id for c in taken.commands] == [waiting.command_id], "it was not consumed"
    await owned.close()

"""Is nothing left under way when a shard's snapshots fail? What came after the discard would claim more than the store has."""

import asyncio

from commands.owner import Bounds
from commands.state_store import Changes, StateStoreFailed
from infra.memory.log import MemoryLog
from infra.memory.state_store import MemoryStateStore, MemoryStateStores
from schemas.partitioning import shard_of
from tests.commands.owning import Running, owner_of, told
from tests.processors.fake_time import simulated
from tests.support.builders import register_target

BOUNDS = Bounds(take_s=0.05, save_every_s=3600, save_every_commands=2, least_pause_s=0.001, most_pause_s=0.02)
SLOW, BROKEN = 0, 1


class Disk:
    """The store of one shard: one saves slowly, the other fails at once, the first time."""

    def __init__(self, shard: int, inner: MemoryStateStore, said: list[str]) -> None:
        self._shard, self._inner, self._said = shard, inner, said
        self.mark, self.load, self.close = inner.mark, inner.load, inner.close

    async def save(self, changes: Changes) -> None:
        if self._shard == BROKEN and "failed" not in self._said:
            self._said.append("failed")
            raise StateStoreFailed("full")
        if self._shard == SLOW:
            await asyncio.sleep(1)
        await self._inner.save(changes)
        self._said.append(f"saved {self._shard}")

    async def discard(self) -> None:
        await self._inner.discard()
        self._said.append(f"discarded {self._shard}")


class Disks(MemoryStateStores):
    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self._said = said

    async def open(self, shard: int) -> Disk:
        return Disk(shard, await super().open(shard), self._said)


def test_no_snapshot_is_saved_after_the_discard_that_another_ones_failure_brings() -> None:
    said: list[str] = []

    async def story() -> None:
        log = MemoryLog(2)
        names = {shard_of(f"target/web-{number}", 2): f"web-{number}" for number in range(20)}
        owner = Running(owner_of(log, Disks(said), bounds=BOUNDS))
        await told(log, *(register_target(names[shard]) for shard in (SLOW, BROKEN)))
        while "discarded 0" not in said or "discarded 1" not in said:
            await asyncio.sleep(0.01)
        await asyncio.sleep(2)
        assert said[:4] == ["failed", "saved 0", "discarded 0", "discarded 1"]
        await owner.end()

    simulated(story())

"""The suite's grip on the memory log."""

import asyncio
from contextlib import asynccontextmanager

from infra.memory.log import MemoryLog
from schemas.log import CommitAborted


class MemoryStaged:
    def __init__(self, log, owner, taken, events, outcomes):
        self._log = log
        self._reached, self._go = asyncio.Event(), asyncio.Event()
        self._abort = False
        self._before, log.at = log.at, self._at
        self._task = asyncio.create_task(owner.commit(taken, events, outcomes))

    async def begun(self):
        await self._reached.wait()
        return self

    async def commit(self):
        self._go.set()
        await self._task

    async def abort(self):
        self._abort = True
        self._go.set()
        (result,) = await asyncio.gather(self._task, return_exceptions=True)
        assert isinstance(result, CommitAborted)

    async def _at(self, moment, transaction):
        if moment == "offsets sent":
            self._log.at = self._before
            self._reached.set()
            await self._go.wait()
            if self._abort:
                raise CommitAborted("the test aborts it")


class MemoryHarness:
    shards, patience_s, glance_s = 4, 30.0, 0.05

    async def open(self):
        return MemoryLog(self.shards)

    async def reopen(self, log):
        await log.close()
        return log

    async def put(self, log, partition, record):
        log.put(partition, record)

    async def delete_before(self, log, partition, offset):
        log.delete_before(partition, offset)

    async def stage(self, log, owner, taken, events, outcomes):
        return await MemoryStaged(log, owner, taken, events, outcomes).begun()

    async def usurp(self, log, owner, instance):
        log.leave(owner.member)
        return log.owned_shards(instance)


@asynccontextmanager
async def open_harness(request, tmp_path):
    yield MemoryHarness()

"""The suite's grip on the SQLite log."""

import asyncio
import sqlite3
import threading
from contextlib import asynccontextmanager

from infra.sqlite.log import SqliteLog
from infra.sqlite.records import stored
from infra.sqlite.transaction import Append
from schemas.log import CommitAborted, LogUnavailable


def write(log, statement, values=()):
    """Write past the log while nothing else does; through its own connection, since only one may (HAZARDS D8)."""
    log.writer._connection.execute(statement, values)


class Hold:
    """Keeps the writer inside a transaction until it is let go; everything in that transaction is then decided together."""

    def __init__(self):
        self.reached, self.go = threading.Event(), threading.Event()
        self.abort = False

    def apply(self, transaction):
        self.reached.set()
        assert self.go.wait(60)
        if self.abort:
            raise sqlite3.OperationalError("the test aborts it")


class SqliteStaged:
    def __init__(self, log, owner, taken, events, outcomes):
        self._log, self._batch = log, (owner, taken, events, outcomes)
        self._hold = Hold()

    async def begun(self):
        # A first hold makes the batch and the second hold wait together, so that they share the next transaction.
        first = Hold()
        tasks = [asyncio.create_task(self._log.writer.submit(first))]
        await asyncio.to_thread(first.reached.wait)
        owner, *batch = self._batch
        self._task = asyncio.create_task(owner.commit(*batch))
        await asyncio.sleep(0)
        self._held = asyncio.create_task(self._log.writer.submit(self._hold))
        await asyncio.sleep(0)
        first.go.set()
        await asyncio.to_thread(self._hold.reached.wait)
        await asyncio.gather(*tasks)
        return self

    async def commit(self):
        self._hold.go.set()
        await asyncio.gather(self._task, self._held)

    async def abort(self):
        self._hold.abort = True
        self._hold.go.set()
        results = await asyncio.gather(self._task, self._held, return_exceptions=True)
        assert [type(result) for result in results] == [CommitAborted, LogUnavailable]


class SqliteHarness:
    shards, patience_s, glance_s = 4, 30.0, 0.1

    def __init__(self, folder):
        self._folder = folder
        self._open = []

    async def open(self):
        self._open.append(await SqliteLog.open(self._folder, self.shards))
        return self._open[-1]

    async def reopen(self, log):
        self._open.remove(log)
        await log.close()
        return await self.open()

    async def put(self, log, partition, record):
        await log.writer.submit(Append(partition, (stored(record),)))

    async def delete_before(self, log, partition, offset):
        first = log.layout.first_id(partition)
        write(log, "DELETE FROM records WHERE id >= ? AND id < ?", (first, first + offset))
        log._newest._rows.clear()  # what follows is about the file

    async def stage(self, log, owner, taken, events, outcomes):
        return await SqliteStaged(log, owner, taken, events, outcomes).begun()

    async def usurp(self, log, owner, instance):
        return log.owned_shards(instance)

    async def close(self):
        for log in self._open:
            await log.close()


@asynccontextmanager
async def open_harness(request, tmp_path):
    harness = SqliteHarness(tmp_path / "log")
    try:
        yield harness
    finally:
        await harness.close()

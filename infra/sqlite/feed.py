"""How does a reader go through the log's file?"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

from infra.sqlite.layout import Layout
from infra.sqlite.newest import Newest
from infra.sqlite.reading import ReadPool, Stretch, ends_in, read_on
from infra.sqlite.transaction import Barrier
from infra.sqlite.waiting import Waiting
from infra.sqlite.writer import Writer
from schemas.log import LogTruncated, Recorded
from schemas.position import Partition, Position
from schemas.topics import BY_NAME, FOR_EVER

POLL_S = 0.1
"""How often a process that does not write looks whether the file has grown."""


class Tail(Protocol):
    """Where partitions end, and how to wait until they grow."""

    async def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """The ends once everything that was asked of the log before this call is decided."""
        ...

    async def seen(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """The ends of what is committed and may be read right now."""
        ...

    async def grown(self, partitions: Sequence[Partition], deadline: float) -> bool:
        """Wait until one of them may have grown, at most until `deadline` (loop time); False when that has come."""
        ...

    def newest(self, stretches: Sequence[Stretch], limit: int) -> Sequence[Recorded] | None:
        """Up to `limit` records of these stretches from memory; None unless all of them begin there."""
        ...


class LiveTail:
    """The tail in the process that writes: told of every commit, it never polls."""

    def __init__(self, writer: Writer, committed: dict[Partition, int], waiting: Waiting, newest: Newest) -> None:
        self._writer = writer
        self._committed = committed
        self._waiting = waiting
        self._newest = newest

    async def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """A transaction still being written may yet be committed, so its decision is awaited."""
        await self._writer.submit(Barrier())
        return await self.seen(partitions)

    async def seen(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """What the writer has told."""
        return {partition: self._committed[partition] for partition in partitions}

    async def grown(self, partitions: Sequence[Partition], deadline: float) -> bool:
        """Until the writer tells."""
        return await self._waiting.wait(partitions, deadline)

    def newest(self, stretches: Sequence[Stretch], limit: int) -> Sequence[Recorded] | None:
        """What the writer has written last."""
        return self._newest.read_on(stretches, limit)


class PolledTail:
    """The tail in a process that only reads."""

    def __init__(self, pool: ReadPool, layout: Layout) -> None:
        self._pool = pool
        self._layout = layout

    async def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """What the file says; a transaction of the writing process that is under way is not seen."""
        return await self.seen(partitions)

    async def seen(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """What the file says."""
        return await self._pool.run(partial(ends_in, layout=self._layout, partitions=list(partitions)))

    async def grown(self, partitions: Sequence[Partition], deadline: float) -> bool:
        """A short while, then look again."""
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return False
        await asyncio.sleep(min(POLL_S, left))
        return True

    def newest(self, stretches: Sequence[Stretch], limit: int) -> None:
        """Nothing: another process writes."""


class SqliteFeed:
    """A place in some partitions of the file."""

    def __init__(self, pool: ReadPool, layout: Layout, tail: Tail, start: Mapping[Partition, int]) -> None:
        self._pool = pool
        self._layout = layout
        self._tail = tail
        self._next = dict(start)

    @property
    def positions(self) -> Mapping[Partition, int]:
        """The next offset to read in each partition."""
        return dict(self._next)

    async def read(self, limit: int, within_s: float) -> Sequence[Recorded]:
        """Up to `limit` next records as soon as there is one, or none after `within_s` seconds. Raises `LogTruncated`."""
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            ends = await self._tail.seen(list(self._next))
            behind = [_stretch(p, start, ends[p]) for p, start in self._next.items() if start != ends[p]]
            if behind and (found := await self._read(behind, limit)):
                return found
            if not behind and not await self._tail.grown(list(self._next), deadline):
                return ()

    async def close(self) -> None:
        """Nothing is held between two reads."""

    async def _read(self, behind: Sequence[Stretch], limit: int) -> Sequence[Recorded]:
        found = self._tail.newest(behind, limit)
        if found is None:
            found = await self._pool.run(partial(read_on, layout=self._layout, stretches=behind, limit=limit))
        else:
            await asyncio.sleep(0)  # a reader that never waits would leave nobody else his turn
        reached = dict(self._next)
        for recorded in found:
            partition = recorded.position.partition
            _check_nothing_lacks(partition, reached[partition], recorded.position.offset)
            reached[partition] = recorded.position.offset + 1
        if not found:
            for stretch in behind:
                _check_nothing_lacks(stretch.partition, stretch.start, stretch.end)
                reached[stretch.partition] = stretch.end
        # The partition served first goes to the end, so that a busy one starves no other.
        served = behind[0].partition
        reached[served] = reached.pop(served)
        self._next = reached
        return found


def _stretch(partition: Partition, start: int, end: int) -> Stretch:
    if start > end:
        where = f"{partition.topic}/{partition.shard}"
        raise LogTruncated(f"{where} ends at {end}, wanted {start}", Position(*partition, start))
    return Stretch(partition, start, end)


def _check_nothing_lacks(partition: Partition, wanted: int, found: int) -> None:
    # Offsets are dense in this adapter, so a gap is retention's work or damage.
    if found != wanted and BY_NAME[partition.topic].retention_ms == FOR_EVER:
        where = f"{partition.topic}/{partition.shard}"
        raise LogTruncated(f"{where} lacks the records from {wanted} to {found}", Position(*partition, wanted))


class SqliteReader:
    """Reads what is committed."""

    def __init__(self, pool: ReadPool, layout: Layout, tail: Tail) -> None:
        self._pool = pool
        self._layout = layout
        self._tail = tail

    @property
    def shards(self) -> int:
        """The number of shards of this log."""
        return self._layout.shards

    async def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """The offset after the last record of each, once everything under way is decided."""
        return await self._tail.ends(partitions)

    async def feed(self, start: Mapping[Partition, int]) -> SqliteFeed:
        """A feed over these partitions from these offsets."""
        return SqliteFeed(self._pool, self._layout, self._tail, start)

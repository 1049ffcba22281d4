"""How does a reader go through the memory log?"""

import asyncio
from collections.abc import Mapping, Sequence

from infra.memory.storage import Storage
from infra.memory.waiting import Waiting
from schemas.log import LogTruncated, Recorded
from schemas.position import Partition, Position
from schemas.topics import BY_NAME, FOR_EVER


class MemoryFeed:
    """A place in some partitions of the memory log."""

    def __init__(self, storage: Storage, start: Mapping[Partition, int], waiting: Waiting) -> None:
        self._storage = storage
        self._next = dict(start)
        self._waiting = waiting

    @property
    def positions(self) -> Mapping[Partition, int]:
        """The next offset to read in each partition."""
        return dict(self._next)

    async def read(self, limit: int, within_s: float) -> Sequence[Recorded]:
        """Up to `limit` next records as soon as there is one, or none after `within_s` seconds. Raises `LogTruncated`."""
        deadline = asyncio.get_running_loop().time() + within_s
        while not (found := self._ready(limit)):
            if not await self._waiting.wait(self._next.keys(), deadline):
                return ()
        return found

    async def close(self) -> None:
        """Nothing is held."""

    def _ready(self, limit: int) -> list[Recorded]:
        found: list[Recorded] = []
        for partition, start in list(self._next.items()):
            if start != self._storage.stable_end(partition):
                self._check(partition)
                found += self._from(partition, limit - len(found))
        # The partition served first goes to the end, so that a busy one starves no other.
        first = next(iter(self._next), None)
        if first is not None and found:
            self._next[first] = self._next.pop(first)
        return found

    def _from(self, partition: Partition, limit: int) -> list[Recorded]:
        found: list[Recorded] = []
        for offset, record in self._storage.committed(partition, self._next[partition]):
            if record is not None:
                if len(found) >= limit:
                    break
                found.append(Recorded(Position(*partition, offset), self._storage.body(partition, offset)))
            self._next[partition] = offset + 1
        return found

    def _check(self, partition: Partition) -> None:
        start, low, end = self._next[partition], self._storage.low(partition), self._storage.end(partition)
        if start < low and BY_NAME[partition.topic].retention_ms != FOR_EVER:
            self._next[partition] = low
        elif not low <= start <= end:
            raise LogTruncated(
                f"{partition.topic}/{partition.shard} holds {low} to {end}, wanted {start}", Position(*partition, start)
            )

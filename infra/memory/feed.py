"""How does a reader go through the memory log?"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from infra.memory.storage import Storage
from schemas.log import LogTruncated, Recorded
from schemas.position import Partition, Position
from schemas.topics import BY_NAME, FOR_EVER
from schemas.wire import decode

Wait = Callable[[float], Awaitable[bool]]
"""Waits until the log changes, at most until this loop time; False when that time has come."""


class MemoryFeed:
    """A place in some partitions of the memory log."""

    def __init__(self, storage: Storage, shards: int, start: Mapping[Partition, int], wait: Wait) -> None:
        self._storage = storage
        self._shards = shards
        self._next = dict(start)
        self._wait = wait

    @property
    def positions(self) -> Mapping[Partition, int]:
        """The next offset to read in each partition."""
        return dict(self._next)

    async def read(self, limit: int, within_s: float) -> Sequence[Recorded]:
        """Up to `limit` next records as soon as there is one, or none after `within_s` seconds. Raises `LogTruncated`."""
        deadline = asyncio.get_running_loop().time() + within_s
        while not (found := self._ready(limit)):
            if not await self._wait(deadline):
                return ()
        return found

    async def close(self) -> None:
        """Nothing is held."""

    def _ready(self, limit: int) -> list[Recorded]:
        found: list[Recorded] = []
        for partition in list(self._next):
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
                body = decode(partition.topic, partition.shard, self._shards, record)
                found.append(Recorded(Position(*partition, offset), body))
            self._next[partition] = offset + 1
        return found

    def _check(self, partition: Partition) -> None:
        start, low, end = self._next[partition], self._storage.low(partition), self._storage.end(partition)
        if start < low and BY_NAME[partition.topic].retention_ms != FOR_EVER:
            self._next[partition] = low
        elif not low <= start <= end:
            raise LogTruncated(f"{partition.topic}/{partition.shard} holds {low} to {end}, wanted {start}")

"""Implements StateStores in memory: what a process leaves behind on its disk, for simulation and quick tests."""

import asyncio
from uuid import UUID

from commands.state_store import REMEMBERED, Changes, Found, Kept, Mark, Needs


class MemoryStateStore:
    """The snapshots of one shard; each call gives way once, so that a simulation can crash there."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._mark = Mark()
        self._streams: dict[str, Kept] = {}
        self._rosters: dict[str, bytes] = {}
        self._outcomes: dict[UUID, bytes] = {}

    async def mark(self) -> Mark:
        """How far the snapshots reach."""
        await asyncio.sleep(0)
        return self._mark

    async def load(self, needs: Needs) -> Found:
        """Look up what is needed."""
        await asyncio.sleep(0)
        return Found(
            {stream: self._streams[stream] for stream in needs.streams if stream in self._streams},
            {key: self._rosters[key] for key in needs.rosters if key in self._rosters},
            {i: self._outcomes[i] for i in needs.outcomes if i in self._outcomes},
        )

    async def save(self, changes: Changes) -> None:
        """Keep the changes and their mark."""
        await asyncio.sleep(0)
        self._streams.update(changes.streams)
        self._rosters.update(changes.rosters)
        for command_id, outcome in changes.outcomes.items():
            self._outcomes.setdefault(command_id, outcome)
        for command_id in list(self._outcomes)[: max(0, len(self._outcomes) - self._window)]:
            del self._outcomes[command_id]
        self._mark = changes.mark

    async def discard(self) -> None:
        """Throw everything away."""
        await asyncio.sleep(0)
        self._mark, self._streams, self._rosters, self._outcomes = Mark(), {}, {}, {}

    async def close(self) -> None:
        """Nothing is held."""


class MemoryStateStores:
    """Keeps the store of each shard from one opening to the next, as a disk does."""

    def __init__(self, window: int = REMEMBERED) -> None:
        self._window = window
        self._stores: dict[int, MemoryStateStore] = {}

    async def open(self, shard: int) -> MemoryStateStore:
        """The shard's store."""
        await asyncio.sleep(0)
        return self._stores.setdefault(shard, MemoryStateStore(self._window))

    async def close(self) -> None:
        """Nothing is held."""

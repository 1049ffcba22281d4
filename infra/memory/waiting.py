"""Who waits for which part of the memory log?"""

import asyncio
from collections.abc import Collection, Hashable

MEMBERS = "members"
"""What is woken when shards change hands."""


class Waiting:
    """Wakes those who wait for a key, in the order they came; whoever is woken looks again for itself."""

    def __init__(self) -> None:
        self._waiters: dict[asyncio.Future[bool], frozenset[Hashable]] = {}

    async def wait(self, keys: Collection[Hashable], deadline: float) -> bool:
        """Until one of the keys is woken, at most until `deadline` (loop time); False when that has come."""
        loop = asyncio.get_running_loop()
        if deadline <= loop.time():
            return False
        woken: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_at(deadline, _tell, woken, False)
        self._waiters[woken] = frozenset(keys)
        try:
            return await woken
        finally:
            timer.cancel()
            del self._waiters[woken]

    def wake(self, keys: Collection[Hashable]) -> None:
        """Wake everyone who waits for one of the keys."""
        for woken, wanted in self._waiters.items():
            if not wanted.isdisjoint(keys):
                _tell(woken, True)


def _tell(woken: asyncio.Future[bool], result: bool) -> None:
    if not woken.done():
        woken.set_result(result)

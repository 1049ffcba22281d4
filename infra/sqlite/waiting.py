"""Who waits for what, on the event loop?"""

import asyncio
from collections.abc import Hashable, Iterable


class Waiting:
    """Wakes the coroutines that wait for a key; whoever is woken looks again for itself."""

    def __init__(self) -> None:
        self._waiters: dict[Hashable, set[asyncio.Event]] = {}

    async def wait(self, keys: Iterable[Hashable], deadline: float) -> bool:
        """Until one of the keys is woken, at most until `deadline` (loop time); False when that has come."""
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return False
        event, registered = asyncio.Event(), list(keys)
        for key in registered:
            self._waiters.setdefault(key, set()).add(event)
        try:
            async with asyncio.timeout(left):  # `wait_for` of Python 3.11 may swallow a cancellation
                await event.wait()
        except TimeoutError:
            return False
        finally:
            for key in registered:
                self._forget(key, event)
        return True

    def wake(self, keys: Iterable[Hashable]) -> None:
        """Wake everyone who waits for one of the keys."""
        for key in keys:
            for event in self._waiters.get(key, ()):
                event.set()

    def _forget(self, key: Hashable, event: asyncio.Event) -> None:
        events = self._waiters[key]
        events.discard(event)
        if not events:
            del self._waiters[key]

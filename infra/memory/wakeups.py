"""Carries hints inside one process."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager


class MemoryWaiter:
    """One who waits; hints that come while nobody waits count for the next wait."""

    def __init__(self) -> None:
        self._hinted = asyncio.Event()

    def hint(self) -> None:
        """There is something new."""
        self._hinted.set()

    async def wait(self, within_s: float) -> None:
        """Return on the next hint since the last call, or after `within_s` seconds."""
        try:
            async with asyncio.timeout(within_s):
                await self._hinted.wait()
        except TimeoutError:
            return
        self._hinted.clear()


class MemoryWakeups:
    """Waiters by topic, in one event loop."""

    def __init__(self) -> None:
        self._waiters: dict[str, set[MemoryWaiter]] = {}

    async def wake(self, topics: Iterable[str]) -> None:
        """Hint to everyone who listens to one of these topics."""
        for topic in topics:
            for waiter in self._waiters.get(topic, ()):
                waiter.hint()

    def wake_all(self) -> None:
        """Hint to everyone: what was missed is not known."""
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.hint()

    @asynccontextmanager
    async def listen(self, topic: str) -> AsyncIterator[MemoryWaiter]:
        """Hear hints for one topic."""
        waiter = MemoryWaiter()
        self._waiters.setdefault(topic, set()).add(waiter)
        try:
            yield waiter
        finally:
            self._waiters[topic].discard(waiter)
            if not self._waiters[topic]:
                del self._waiters[topic]

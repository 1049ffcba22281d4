"""Counts failed sign-ins in memory."""

import time
from collections.abc import Callable

from api.sign_in_limit import WINDOW_S

_MOST_KEYS = 100_000


class MemoryAttempts:
    """Failures by key; the oldest keys go first when there are too many."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._failures: dict[str, tuple[int, float]] = {}

    async def failed(self, key: str) -> int:
        """Count one failure."""
        count, _ = await self.failures(key)
        self._failures.pop(key, None)
        self._failures[key] = (count + 1, self._seconds())
        if len(self._failures) > _MOST_KEYS:
            del self._failures[next(iter(self._failures))]
        return count + 1

    async def failures(self, key: str) -> tuple[int, float]:
        """How many there were, and how many seconds ago the last one was."""
        count, at = self._failures.get(key, (0, 0.0))
        age = self._seconds() - at
        return (count, age) if count and age <= WINDOW_S else (0, 0.0)

    async def forget(self, key: str) -> None:
        """Somebody signed in."""
        self._failures.pop(key, None)

"""Counts failed sign-ins in memory."""

import itertools
import time
from collections.abc import Callable, Mapping

from api.sign_in_limit import UNDER_WAY_S, WINDOW_S

_MOST_KEYS = 100_000


class MemoryAttempts:
    """Failures by key; the oldest keys go first when there are too many. Attempts under way are as few as requests."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._names = itertools.count()
        self._failures: dict[str, tuple[int, float]] = {}
        self._under_way: dict[str, dict[str, float]] = {}

    async def failures(self, key: str) -> tuple[int, float]:
        """How many there were, and how many seconds ago the last one was."""
        return self._failed(key)

    async def begin(self, most: Mapping[str, int]) -> str | None:
        """Put an attempt under way, unless there are too many."""
        if any(self._failed(key)[0] + self._open(key) >= bound for key, bound in most.items()):
            return None
        name = str(next(self._names))
        for key in most:
            self._under_way.setdefault(key, {})[name] = self._seconds() + UNDER_WAY_S
        return name

    async def end(self, attempt: str, failed: Mapping[str, bool]) -> None:
        """An attempt is over."""
        for key, is_failure in failed.items():
            under_way = self._under_way.get(key, {})
            under_way.pop(attempt, None)
            if not under_way:
                self._under_way.pop(key, None)
            if is_failure:
                self._count(key)

    async def forget(self, key: str) -> None:
        """Somebody signed in."""
        self._failures.pop(key, None)

    def _failed(self, key: str) -> tuple[int, float]:
        count, at = self._failures.get(key, (0, 0.0))
        age = self._seconds() - at
        return (count, age) if count and age <= WINDOW_S else (0, 0.0)

    def _open(self, key: str) -> int:
        """How many attempts are under way."""
        now, found = self._seconds(), self._under_way.get(key, {})
        for name in [name for name, until in found.items() if until <= now]:
            del found[name]
        return len(found)

    def _count(self, key: str) -> None:
        count, _ = self._failed(key)
        self._failures.pop(key, None)
        self._failures[key] = (count + 1, self._seconds())
        if len(self._failures) > _MOST_KEYS:
            del self._failures[next(iter(self._failures))]

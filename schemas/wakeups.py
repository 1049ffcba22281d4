"""Who should look again? A hint only: it may be lost or come twice, so every waiter re-reads from its own place and polls at
least once a second besides.
"""

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

RECENT_EVENTS = "events"
"""The topic of hints that any event was projected."""

RECENT_CHANGES = "changes"
"""The topic of hints that anything was projected, output of runs included."""


class Waiter(Protocol):
    """One who waits for hints."""

    async def wait(self, within_s: float) -> None:
        """Return on the next hint since the last call, or after `within_s` seconds."""
        ...


class Wakeups(Protocol):
    """Carries hints from the projections to live readers."""

    async def wake(self, topics: Iterable[str]) -> None:
        """Hint that there is something new under each of these topics (`run/…`, `events`, `changes`). Never raises."""
        ...

    def listen(self, topic: str) -> AbstractAsyncContextManager[Waiter]:
        """Hear hints for one topic."""
        ...

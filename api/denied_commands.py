"""How do denied writes get into the audit trail? Counted per user by permission, and one event tells of a whole window of time.

What was counted since the last event is lost with the process.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from api.problem_details import Problem
from domain.user import RecordDeniedCommands
from schemas.log import LogError

log = logging.getLogger(__name__)

Tell = Callable[[RecordDeniedCommands], Awaitable[object]]


@dataclass(slots=True)
class _Window:
    since: datetime
    until: datetime
    counts: Counter[str] = field(default_factory=Counter)


class DeniedCommands:
    """Counts denied writes by user and hands each window's counts to `tell` once it is `window_s` old."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._windows: dict[str, _Window] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, user: str, permission: str, now: datetime, tell: Tell) -> None:
        """One denied write. A window that could not be told of goes on into the next."""
        window = self._windows.get(user)
        if window is None:
            window = self._windows[user] = _Window(now, now)
            task = asyncio.get_running_loop().create_task(self._tell_later(user, tell))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        window.counts[permission] += 1
        window.until = now

    async def _tell_later(self, user: str, tell: Tell) -> None:
        window = self._windows[user]
        while window.counts:
            await asyncio.sleep(self._window_s)
            counted, until = Counter(window.counts), window.until
            try:
                await tell(RecordDeniedCommands(dict(sorted(counted.items())), window.since, until))
            except (Problem, LogError) as failed:
                log.warning("denied commands are not recorded yet: %s", type(failed).__name__)
            else:  # what came meanwhile is the next window's
                window.counts, window.since = window.counts - counted, until
        del self._windows[user]

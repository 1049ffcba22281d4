"""How do wrong passwords get into the audit trail? Counted per account, and one event tells of a whole window of time.

What was counted since the last event is lost with the process; who tries the password of a name that nobody has is in the
metrics only.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from api.problem_details import Problem
from domain.user import RecordSignInFailures
from schemas.log import LogError

log = logging.getLogger(__name__)

Tell = Callable[[RecordSignInFailures], Awaitable[object]]


@dataclass(slots=True)
class _Window:
    since: datetime
    until: datetime
    count: int = 0


class SignInFailures:
    """Counts failures by account and hands each window's count to `tell` once it is `window_s` old."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._windows: dict[str, _Window] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, account: str, now: datetime, tell: Tell) -> None:
        """One wrong password for an account that exists. A window that could not be told of goes on into the next."""
        window = self._windows.get(account)
        if window is None:
            window = self._windows[account] = _Window(now, now)
            task = asyncio.get_running_loop().create_task(self._tell_later(account, tell))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        window.count += 1
        window.until = now

    async def _tell_later(self, account: str, tell: Tell) -> None:
        window = self._windows[account]
        while window.count:
            await asyncio.sleep(self._window_s)
            counted, until = window.count, window.until
            try:
                await tell(RecordSignInFailures(counted, window.since, until))
            except (Problem, LogError) as failed:
                log.warning("failed sign-ins are not recorded yet: %s", type(failed).__name__)
            else:  # what came meanwhile is the next window's
                window.count, window.since = window.count - counted, until
        del self._windows[account]

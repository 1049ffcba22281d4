"""How does what happens again and again get into the audit trail? Counted by user, and one event tells of a whole window of time.

Wrong passwords of accounts that exist (who tries the password of a name that nobody has is in the metrics only), and writes that
were denied, by the permission they would have taken. What was counted since the last event is lost with the process.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from api.problem_details import Problem
from domain.user.messages import RecordDeniedCommands, RecordSignInFailures
from schemas.log import LogError

log = logging.getLogger(__name__)

Tell = Callable[[Any], Awaitable[object]]


@dataclass(slots=True)
class _Window:
    since: datetime
    until: datetime
    counts: Counter[str] = field(default_factory=Counter)


class Counted:
    """Counts by user and kind, and hands what `command` makes of a window's counts to `tell` once it is `window_s` old."""

    def __init__(self, window_s: float, command: Callable[[Mapping[str, int], datetime, datetime], Any]) -> None:
        self._window_s, self._command = window_s, command
        self._windows: dict[str, _Window] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, user: str, kind: str, now: datetime, tell: Tell) -> None:
        """It happened once. A window that could not be told of goes on into the next."""
        window = self._windows.get(user)
        if window is None:
            window = self._windows[user] = _Window(now, now)
            task = asyncio.get_running_loop().create_task(self._tell_later(user, tell))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        window.counts[kind] += 1
        window.until = now

    async def _tell_later(self, user: str, tell: Tell) -> None:
        window = self._windows[user]
        while window.counts:
            await asyncio.sleep(self._window_s)
            counted, until = Counter(window.counts), window.until
            command = self._command(counted, window.since, until)
            try:
                await tell(command)
            except (Problem, LogError) as failed:
                log.warning("%s waits to be recorded: %s", type(command).__name__, type(failed).__name__)
            else:  # what came meanwhile is the next window's
                window.counts, window.since = window.counts - counted, until
        del self._windows[user]


def sign_in_failures(counts: Mapping[str, int], since: datetime, until: datetime) -> RecordSignInFailures:
    """What tells of wrong passwords."""
    return RecordSignInFailures(sum(counts.values()), since, until)


def denied_commands(counts: Mapping[str, int], since: datetime, until: datetime) -> RecordDeniedCommands:
    """What tells of denied writes, by permission."""
    return RecordDeniedCommands(dict(sorted(counts.items())), since, until)

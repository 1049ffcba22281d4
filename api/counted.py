"""How does what happens again and again get into the audit trail? Counted by user, and one event tells of a whole window of time.

Wrong passwords of accounts that exist (who tries the password of a name that nobody has is in the metrics only), and writes that
were denied, by the permission they would have taken and by what they were about. What was counted since the last event is lost
with the process.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from api.problem_details import Problem
from domain.user.decide import MAX_DENIED_NAMED
from domain.user.messages import Denials, RecordDeniedCommands, RecordSignInFailures
from schemas.log import LogError

log = logging.getLogger(__name__)

Kind = TypeVar("Kind", bound=Hashable)
Tell = Callable[[Any], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class DeniedWrite:
    """A write that would have taken `permission` on `object` (see `Denials`); None for a thing among many."""

    permission: str
    object: str | None


@dataclass(slots=True)
class _Window(Generic[Kind]):
    since: datetime
    until: datetime
    counts: Counter[Kind] = field(default_factory=Counter)


class Counted(Generic[Kind]):
    """Counts by user and kind, and hands what `command` makes of a window's counts to `tell` once it is `window_s` old. There are
    as many kinds in a window as `counted_as` lets there be: it says what one counts as, given what the window holds already.
    """

    def __init__(
        self,
        window_s: float,
        command: Callable[[Mapping[Kind, int], datetime, datetime], Any],
        counted_as: Callable[[Kind, Mapping[Kind, int]], Kind],
    ) -> None:
        self._window_s, self._command, self._counted_as = window_s, command, counted_as
        self._windows: dict[str, _Window[Kind]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, user: str, kind: Kind, now: datetime, tell: Tell) -> None:
        """It happened once. A window that could not be told of goes on into the next."""
        window = self._windows.get(user)
        if window is None:
            window = self._windows[user] = _Window(now, now)
            task = asyncio.get_running_loop().create_task(self._tell_later(user, tell))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        window.counts[self._counted_as(kind, window.counts)] += 1
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


def sign_in_failures(window_s: float) -> Counted[str]:
    """What counts wrong passwords, all alike."""
    return Counted(window_s, _failures, lambda kind, held: kind)


def denied_commands(window_s: float) -> Counted[DeniedWrite]:
    """What counts denied writes, by permission and by the first things that they were about."""
    return Counted(window_s, _denials, _named_or_not)


def _failures(counts: Mapping[str, int], since: datetime, until: datetime) -> RecordSignInFailures:
    return RecordSignInFailures(sum(counts.values()), since, until)


def _denials(counts: Mapping[DeniedWrite, int], since: datetime, until: datetime) -> RecordDeniedCommands:
    by_permission = Counter[str]()
    for write, count in counts.items():
        by_permission[write.permission] += count
    about = (Denials(write.permission, write.object, count) for write, count in counts.items() if write.object is not None)
    return RecordDeniedCommands(dict(sorted(by_permission.items())), since, until, tuple(about))


def _named_or_not(write: DeniedWrite, held: Mapping[DeniedWrite, int]) -> DeniedWrite:
    if write in held or sum(each.object is not None for each in held) < MAX_DENIED_NAMED:
        return write
    return replace(write, object=None)

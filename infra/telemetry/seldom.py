"""How often is the same thing said? Once in half a minute, of what logs the same many times a second while a broker is away."""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

EVERY_S = 30.0
_MOST_KEPT = 500
_DIGITS = re.compile(r"\d+")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Said:
    at: float
    left_out: int = 0


class Seldom(logging.Filter):
    """Lets a message of these loggers through once in `EVERY_S`; the same is what differs by numbers alone.

    The next one carries in `left_out` how many were not let through. Where none came for so long, that is said by a record of
    its own, together with whatever is logged next.
    """

    def __init__(
        self, loggers: str, say: Callable[[logging.LogRecord], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`loggers` is the first part of their names; `say` takes records of our own."""
        super().__init__(loggers)
        self._say, self._clock = say, clock
        self._said: dict[tuple[str, str], _Said] = {}
        self._looked_at = clock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Is the record let through?"""
        now = self._clock()
        passes = not super().filter(record) or self._passes(record, now)
        self._forget(now)
        return passes

    def _passes(self, record: logging.LogRecord, now: float) -> bool:
        same = record.name, _DIGITS.sub("#", record.getMessage())
        known = self._said.get(same)
        if known is not None and now - known.at < EVERY_S:
            known.left_out += 1
            return False
        if known is not None and known.left_out:
            record.left_out = known.left_out
        if known is not None or len(self._said) < _MOST_KEPT:
            self._said[same] = _Said(now)
        return True

    def _forget(self, now: float) -> None:
        """What was not said for long, and say how much of it was left out."""
        if now - self._looked_at < EVERY_S:
            return
        self._looked_at = now
        old = [(same, said) for same, said in list(self._said.items()) if now - said.at >= EVERY_S]
        for same, said in old:
            self._said.pop(same, None)  # several threads log
            if said.left_out:
                self._say(_left_out(*same, said.left_out))


def _left_out(name: str, message: str, count: int) -> logging.LogRecord:
    told = log.makeRecord(log.name, logging.WARNING, __file__, 0, "left out, the same as before: %s", (message,), None)
    told.left_out, told.said_by = count, name
    return told

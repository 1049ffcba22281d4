"""How often is the same thing said? Once in half a minute, of what logs the same many times a second while a broker is away."""

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

EVERY_S = 30.0
LOOK_EVERY_S = 10.0
"""So often it is looked whether something is over; what did not come for so long is."""
_MOST_KEPT = 500
_DIGITS = re.compile(r"\d+")

log = logging.getLogger(__name__)

Later = Callable[[float, Callable[[], None]], object]
"""Calls something after so many seconds, in another thread."""


def in_a_thread(after_s: float, call: Callable[[], None]) -> None:
    """`Later` of the system; the process does not wait for it."""
    timer = threading.Timer(after_s, call)
    timer.daemon = True
    timer.start()


def but_for_numbers(message: str) -> str:
    """What differs by numbers alone is the same."""
    return _DIGITS.sub("#", message)


def to_the_letter(message: str) -> str:
    """Only the very same text is the same, so nothing is left out that has not been said."""
    return message


_Same = tuple[str, str, str, int]
"""A logger's name, a message, the error that came with it, and how bad it is."""


@dataclass(slots=True)
class _Said:
    at: float
    last: float
    left_out: int = 0


class Seldom(logging.Filter):
    """Lets a message of these loggers through at once, and the same again once in `EVERY_S`.

    The next one carries in `left_out` how many were not let through. Where none comes any more, a record of its own says that,
    and how many were left out since the last one.
    """

    def __init__(
        self,
        loggers: str,
        alike: Callable[[str], str],
        say: Callable[[logging.LogRecord], object],
        clock: Callable[[], float] = time.monotonic,
        later: Later = in_a_thread,
    ) -> None:
        """`loggers` is the first part of their names; `alike` is the same for messages that are; `say` takes records of ours."""
        super().__init__(loggers)
        self._alike, self._say, self._clock, self._later = alike, say, clock, later
        self._lock = threading.RLock()  # a destructor that runs just here may log
        self._said: dict[_Same, _Said] = {}
        self._looks = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Is the record let through?"""
        if not super().filter(record):
            return True
        now, error = self._clock(), record.exc_info[1] if record.exc_info else None
        same = record.name, self._alike(record.getMessage()), repr(error), record.levelno
        with self._lock:
            passes = self._passes(same, record, now)
            begins, self._looks = bool(self._said) and not self._looks, bool(self._said)
        if begins:
            self._look_later()
        return passes

    def _passes(self, same: _Same, record: logging.LogRecord, now: float) -> bool:
        known = self._said.get(same)
        if known is None:
            if len(self._said) < _MOST_KEPT:
                self._said[same] = _Said(now, now)
            return True
        known.last = now
        if now - known.at < EVERY_S:
            known.left_out += 1
            return False
        if known.left_out:
            record.left_out = known.left_out
        known.at, known.left_out = now, 0
        return True

    def _look(self) -> None:
        """Forget what was not said for long, and say how much of it was left out."""
        now = self._clock()
        with self._lock:
            over = {same: said for same, said in self._said.items() if _is_over(said, now)}
            for same in over:
                del self._said[same]
            self._looks = bool(self._said)
            goes_on = self._looks
        try:
            for (name, message, *_), said in over.items():
                if said.left_out:
                    self._say(_no_longer(name, message, said.left_out))
        finally:
            if goes_on:
                self._look_later()

    def _look_later(self) -> None:
        """Where no thread can be started, whoever logs must not be told: the next record tries again."""
        try:
            self._later(LOOK_EVERY_S, self._look)
        except RuntimeError:
            with self._lock:
                self._looks = False


def _is_over(said: _Said, now: float) -> bool:
    return now - said.at >= EVERY_S and now - said.last >= LOOK_EVERY_S


def _no_longer(name: str, message: str, left_out: int) -> logging.LogRecord:
    told = log.makeRecord(log.name, logging.WARNING, __file__, 0, "no longer said: %s", (message,), None)
    told.left_out, told.said_by = left_out, name
    return told

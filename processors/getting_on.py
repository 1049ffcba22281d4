"""Does a loop that looks again and again still come through, and in time? What readiness rests on (HAZARDS R22)."""

from collections.abc import Callable

TROUBLE_AFTER_S = 15.0
"""So long a loop may not come through before that is said."""


class GettingOn:
    """When a loop came through in time last; `what` says what it does not then, as in "no claims have been judged in time".

    A look whose answer took longer than `within_s` counts as none: else a loop that waits long for each answer would be well and
    unwell by turns. `asked` is who it waits for.
    """

    def __init__(self, what: str, asked: str, monotonic: Callable[[], float], within_s: float = TROUBLE_AFTER_S) -> None:
        self._what, self._asked, self._monotonic, self._within_s = what, asked, monotonic, within_s
        self._at: float | None = None
        self._took_s = 0.0

    def came_through(self, took_s: float) -> None:
        """Note that it did, now; the answer took so long."""
        self._took_s = took_s
        if took_s <= self._within_s:
            self._at = self._monotonic()

    @property
    def trouble(self) -> str | None:
        """Why it does not get on, or None."""
        slow = f": {self._asked} took {self._took_s:.1f} s to answer" if self._took_s > self._within_s else ""
        if self._at is None:
            return f"{self._what} yet{slow}"
        silent_s = self._monotonic() - self._at
        return None if silent_s < TROUBLE_AFTER_S else f"{self._what} since {silent_s:.0f} s{slow}"

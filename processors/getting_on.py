"""Does a loop that looks again and again still come through? What readiness rests on (HAZARDS R22)."""

from collections.abc import Callable

TROUBLE_AFTER_S = 15.0
"""So long a loop may not come through before that is said."""


class GettingOn:
    """When a loop came through last; `what` says what it does then, as in "no claims have been judged"."""

    def __init__(self, what: str, monotonic: Callable[[], float]) -> None:
        self._what, self._monotonic = what, monotonic
        self._at: float | None = None

    def came_through(self) -> None:
        """Note that it did, now."""
        self._at = self._monotonic()

    @property
    def trouble(self) -> str | None:
        """Why it does not get on, or None."""
        if self._at is None:
            return f"{self._what} yet"
        silent_s = self._monotonic() - self._at
        return None if silent_s < TROUBLE_AFTER_S else f"{self._what} since {silent_s:.0f} s"

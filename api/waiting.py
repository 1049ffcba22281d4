"""How many requests may wait until the read models are as far as they ask for?

What a caller names may never come, and each that waits holds one of the places where requests are answered, as long as the wait
lasts. So it is few an account, and all together leave places for those that need not wait.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from api.problem_details import Problem


class Waiting:
    """Counts the requests that wait."""

    def __init__(self, most: int, most_of_account: int) -> None:
        self._most, self._most_of_account = most, most_of_account
        self._waiting: Counter[str] = Counter()

    @contextmanager
    def of(self, account: str) -> Iterator[None]:
        """Count one for as long as it waits. Raises `Problem` (429, 503) for one too many."""
        if self._waiting[account] >= self._most_of_account:
            raise Problem("too_many_waiting")
        if self._waiting.total() >= self._most:
            raise Problem("overloaded", "too many requests wait for the read models")
        self._waiting[account] += 1
        try:
            yield
        finally:
            self._waiting[account] -= 1
            self._waiting += Counter()

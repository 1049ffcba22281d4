"""How many live streams may be open? A bound for everybody together and one for each actor."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from api.metrics import Metrics
from api.problem_details import Problem


class StreamCount:
    """Counts open live streams."""

    def __init__(self, most: int, most_per_actor: int, metrics: Metrics) -> None:
        self._most, self._most_per_actor, self._metrics = most, most_per_actor, metrics
        self._open: Counter[str] = Counter()

    def check(self, actor: str) -> None:
        """Raise `Problem` (429) when no further stream may be opened."""
        if self._open.total() >= self._most or self._open[actor] >= self._most_per_actor:
            raise Problem("too_many_streams")

    @contextmanager
    def opened(self, actor: str) -> Iterator[None]:
        """Count a stream for as long as it is open."""
        self._open[actor] += 1
        self._metrics.streams.set(self._open.total())
        try:
            yield
        finally:
            self._open[actor] -= 1
            self._open += Counter()
            self._metrics.streams.set(self._open.total())

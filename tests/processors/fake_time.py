"""Hours in milliseconds: an event loop whose time jumps to the next thing that is due."""

import asyncio
import heapq
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

START = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """Never waits: when nothing is ready, its time becomes that of the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._fake = 0.0

    def time(self) -> float:
        return self._fake

    def pass_time(self, seconds: float) -> None:
        """As if the process had been paused."""
        self._fake += seconds

    def _run_once(self) -> None:
        scheduled = self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            self._timer_cancelled_count -= 1
        if not self._ready and scheduled:
            self._fake = max(self._fake, scheduled[0]._when)
        super()._run_once()


class FakeClock:
    """Both kinds of time, by the loop's; `skew` sets the time of day apart."""

    def __init__(self) -> None:
        self.skew = timedelta()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic()) + self.skew

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def simulated(work: Coroutine[Any, Any, T], within_s: float = 3_000.0) -> T:
    """Run `work` to its end in fake time; more fake seconds than `within_s` are an error."""
    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        return runner.run(asyncio.wait_for(work, within_s))

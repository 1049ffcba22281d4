"""Does the owning thread still make progress? If not the process ends: a supervisor's restart is the only way out.

Some calls of librdkafka ignore their time-out and block for ever (HAZARDS R3). Time is counted in the watchdog's own wakes, so
that a process that was stopped as a whole and goes on later is not taken for one that hung.
"""

import logging
import os
import threading
from collections.abc import Callable

_LOG = logging.getLogger(__name__)
_EVERY_S = 1.0

HUNG_STATUS = 70
"""The exit status of a process that ended itself because its owning thread hung (EX_SOFTWARE)."""


class Watchdog:
    """Watches one thread. The thread calls `begin` and `end` around its work and `progress` in between."""

    def __init__(self, hang_s: float, exit_process: Callable[[int], object] = os._exit, every_s: float = _EVERY_S) -> None:
        self._bound = max(2, round(hang_s / every_s))
        self._every_s = every_s
        self._exit = exit_process
        self._busy = False
        self._count = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="kafka-watchdog", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """The thread starts on something."""
        self._count += 1
        self._busy = True

    def progress(self) -> None:
        """The thread got a step further."""
        self._count += 1

    def end(self) -> None:
        """The thread waits for work; that may last for ever."""
        self._busy = False

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()

    def _watch(self) -> None:
        seen, unchanged = -1, 0
        while not self._stopped.wait(self._every_s):
            unchanged = unchanged + 1 if self._busy and self._count == seen else 0
            seen = self._count
            if unchanged >= self._bound:
                _LOG.critical("the thread that owns the shards hangs since %.0f s: this process ends", unchanged * self._every_s)
                self._exit(HUNG_STATUS)
                return

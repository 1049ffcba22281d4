"""Does a process stand still? SIGSTOP is only asked for by `kill`; a thread that runs may go on for a moment and answer."""

import os
import signal
from pathlib import Path

from tests.support.eventually import eventually


def freeze(pid: int) -> None:
    """Send SIGSTOP and return when every thread of the process stands. Raises `AssertionError` after 10 s."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: all(_state(thread) == "T" for thread in Path(f"/proc/{pid}/task").iterdir()), every=0.002)


def _state(thread: Path) -> str:
    return (thread / "stat").read_text().rpartition(") ")[2][:1]

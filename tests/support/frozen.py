"""Does a process stand still? SIGSTOP is only asked for by `kill`; a thread that runs may go on for a moment and answer."""

import os
import signal
from pathlib import Path

from tests.support.eventually import eventually


def freeze(pid: int) -> None:
    """Send SIGSTOP and return when no thread of the process runs any more. Raises `ProcessLookupError` where there is no such
    process and `AssertionError` when it does not stand in time."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: not any(_runs(pid, int(thread)) for thread in os.listdir(f"/proc/{pid}/task")), every=0.002)


def _runs(pid: int, thread: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/task/{thread}/stat").read_text().rpartition(") ")[2][:1]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "TZX"

"""How does one cluster at most run in a folder, also after a kill? By a lock, and by writing down who was started."""

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from infra.deploy.services.native_process import start_ticks

_LOCK, _STARTED = "supervisor", "processes.json"
_DIES_WITHIN_S = 10.0
"""So long may it take until who was killed is gone, as where a disk hangs."""


class RunsAlready(Exception):
    """Another supervisor has the folder; the message says which."""


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Have the folder for ourselves until the block ends; it ends with our process, too. Raises `RunsAlready`."""
    with (folder / _LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise RunsAlready(f"a cluster runs in {folder} already: pid {lock.read().strip() or 'unknown'}") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def write_down(folder: Path, pids: Mapping[str, int]) -> None:
    """Who runs now, by name: the next supervisor has to know when nobody ended them."""
    started = {name: (pid, start_ticks(pid)) for name, pid in pids.items()}
    new = folder / f"{_STARTED}.new"
    new.write_text(json.dumps(started))
    new.replace(folder / _STARTED)


def end_left_over(folder: Path, within_s: float, say: Callable[[str], None]) -> None:
    """Wait until whatever a killed supervisor started has ended, by force after `within_s` seconds: it has ports, data and names
    that are needed again. Raises `RunsAlready` when that does not end it either.
    """
    if not (left := _left(folder)):
        return
    say(f"waiting for what the cluster before has left: {', '.join(f'{name} pid {pid}' for name, pid in left.items())}")
    _signalled(left, signal.SIGTERM)
    deadline = time.monotonic() + within_s
    while left := _left(folder):
        if time.monotonic() > deadline + _DIES_WITHIN_S:
            raise RunsAlready(f"what the cluster before has left does not end: {left}")
        if time.monotonic() > deadline:
            _signalled(left, signal.SIGKILL)
        time.sleep(0.1)


def _left(folder: Path) -> dict[str, int]:
    """Who of those written down still runs. A process that merely got such a number is none of them, nor is one of which the
    system does not tell since when it runs.
    """
    with contextlib.suppress(OSError, ValueError, TypeError):
        written = dict(json.loads((folder / _STARTED).read_text()))
        return {name: pid for name, (pid, ticks) in written.items() if ticks and start_ticks(pid) == ticks}
    return {}


def _signalled(processes: Mapping[str, int], number: signal.Signals) -> None:
    for pid in processes.values():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)

"""When is a process that ended started again? A second later; one that ends again and again, later each time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from subprocess import SubprocessError
from typing import Protocol

from infra.deploy.services.native_process import ServiceFailed

FIRST_S, STEADY_S = 1.0, 60.0
"""How long after its end a process is started again, and how long one has to run for its ends to count from one again."""


class Supervised(Protocol):
    """A process that is started again when it ends."""

    @property
    def pid(self) -> int:
        """Its number."""

    def has_ended(self) -> bool:
        """Was it started, and does it run no more?"""

    def launch(self) -> None:
        """Start it, without waiting for more. Raises an error where it cannot be started now."""


@dataclass(slots=True)
class _History:
    delay: float = 0.0
    started: float = field(default=float("-inf"))
    due: float | None = None


class Restarts:
    """What keeps some processes going; asked again and again by `look`."""

    def __init__(self, processes: Mapping[str, Supervised], most_s: float, say: Callable[[str], None]) -> None:
        """None waits longer than `most_s`."""
        self._processes, self._most_s, self._say = processes, most_s, say
        self._histories = {name: _History() for name in processes}

    def look(self, now: float) -> list[str]:
        """Say who has ended, and start whose time has come; whom this started."""
        return [name for name, process in self._processes.items() if process.has_ended() and self._again(name, process, now)]

    def _again(self, name: str, process: Supervised, now: float) -> bool:
        history = self._histories[name]
        if history.due is None:
            is_first = now - history.started >= STEADY_S
            history.delay = FIRST_S if is_first else min(self._most_s, history.delay * 2)
            history.due = now + history.delay
            self._say(f"{name} ended; starting it again" + ("" if is_first else f" in {history.delay:g} s"))
        if now < history.due:
            return False
        history.due, history.started = None, now
        try:
            process.launch()
        except (ServiceFailed, SubprocessError, OSError) as failed:  # it is tried again; all others are looked after meanwhile
            self._say(f"{name} could not be started: {failed}")
            return False
        return True

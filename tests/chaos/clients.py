"""Who starts and cancels runs? A few clients at a bounded rate, over REST; all that they were told is written down.

What is not known is sent again under its key or asked for, a few times; then it stays unknown until all is healed.
"""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from uuid import UUID, uuid5

from api.routes.start_run import _RUNS
from domain.identity import JOB, RUN, name_of, run_id, stream_of
from schemas.command_envelope import people_command_id
from tests.chaos.fleet import GROUPS, KINDS, narrowed
from tests.jepsen.clients import ACTOR, Client
from tests.jepsen.history import Said, Write

TRIES = 6
CANCELLED = 0.1
"""The share of runs that are cancelled soon after."""


@dataclass
class Course:
    """How many runs are to be acknowledged, and by when; shared by all clients. What is not known does not count."""

    runs: int
    within_s: float
    began: float = field(default_factory=time.monotonic)
    asked: Counter[str] = field(default_factory=Counter)
    _taken: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> float | None:
        """When the next run falls due, by `time.monotonic()`; None when there is none left."""
        with self._lock:
            if self._taken >= self.runs:
                return None
            self._taken += 1
            return self.began + self.within_s * (self._taken - 1) / self.runs

    def gave(self, job: str, write: Write) -> None:
        """What became of one."""
        with self._lock:
            if write.said is Said.OK:
                self.asked[job] += 1
            else:
                self._taken -= 1


@dataclass
class Starter(Client):
    """One client; `work` goes on until the course is done or `stop` is set."""

    course: Course = field(default_factory=lambda: Course(0, 0))

    def work(self, stop: threading.Event) -> None:
        """Start runs when they fall due; now and then cancel one."""
        while (due := self.course.next()) is not None:
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            run = self._start(stop)
            if run is not None and self.dice.random() < CANCELLED:
                stop.wait(self.dice.uniform(0, 2))
                self._cancel(run, stop)

    def _start(self, stop: threading.Event) -> str | None:
        job = self.dice.choices(list(KINDS), [kind.weight for kind in KINDS.values()])[0]
        key = self._key()
        run = run_id(job, uuid5(_RUNS, f"{ACTOR.kind}:{ACTOR.name}\n{stream_of(JOB, job)}\n{key}"))
        write = self._write(stream_of(RUN, run), key, "start run")
        self._tried(write, f"/jobs/{job}/runs", {"targets": narrowed(self.dice.randrange(GROUPS))}, key, stop)
        self.course.gave(job, write)
        return run if write.said is Said.OK else None

    def _cancel(self, run: str, stop: threading.Event) -> None:
        key = self._key()
        write = self._write(stream_of(RUN, run), key, "cancel run")
        self._tried(write, f"/runs/{name_of(write.stream)}/cancel", {"reason": "chaos"}, key, stop)

    def _key(self) -> str:
        return str(UUID(int=self.dice.getrandbits(128)))

    def _write(self, stream: str, key: str, kind: str) -> Write:
        command_id = people_command_id(ACTOR, stream, key)
        return Write(client=self.number, stream=stream, command_id=command_id, kind=kind, expected=None)

    def _tried(self, write: Write, path: str, body: dict[str, str], key: str, stop: threading.Event) -> None:
        headers = {"Idempotency_Key": key}
        write.tries.append(self._sent(write, "POST", path, body, headers))
        self.history.writes.append(write)
        while not write.definite and len(write.tries) < TRIES and not stop.is_set():
            time.sleep(self.dice.uniform(0.1, 1.0))
            ask = self.dice.random() < 0.4
            write.tries.append(self.asked(write) if ask else self._sent(write, "POST", path, body, headers))


def dice_of(seed: str, number: int) -> Random:
    """What a client draws from."""
    return Random(f"{seed}: client {number}")

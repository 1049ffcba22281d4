"""What do simulated targets do? They run steps whatever becomes of the executor, fail, hang, die, come back, and bear witness.

A step that was begun goes on when its executor dies or loses the connection: only its end is not heard by anybody.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from random import Random
from typing import Any

from processors.executor.connector import (
    Ending,
    Endpoint,
    Exited,
    Invocation,
    Killed,
    Login,
    OutputSink,
    Reached,
    Unconfirmed,
    Unreachable,
)
from schemas.position import Partition
from tests.support.evidence import Start
from tests.support.simulated_ports import Network
from tests.support.simulated_process import PROCESS, Fault, Process


@dataclass(eq=False)
class _Remote:
    mark: str
    executor: Process | None
    target: str
    exit_code: int
    over: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = False


class SimulatedFleet:
    """Implements `Connector` for every executor. `starts` is what the targets saw, `written` by mark what of a step's output came
    to its executor; `down` are the targets that do not answer, and why.

    `split` are the pairs of an executor's process and a target between which nothing passes.
    """

    def __init__(self, network: Network, dice: Random) -> None:
        self.starts: list[Start] = []
        self.written: dict[str, str] = {}
        self.down: dict[str, Fault] = {}
        self.split: dict[tuple[Process | None, str], Fault] = {}
        self._network, self._loop, self._log, self._dice = network, network.loop, network.log, dice
        self._running: dict[_Remote, None] = {}

    async def run(self, endpoint: Endpoint, login: Login, step: Invocation, sink: OutputSink, cancelled: asyncio.Event) -> Ending:
        dice = self._dice
        await asyncio.sleep(dice.uniform(2, 9) if self._happens("connection slow", 0.02) else dice.uniform(0.005, 0.3))
        if not self._answers(endpoint.target) or self._happens("step unreachable", 0.03):
            await asyncio.sleep(dice.uniform(0, 1))
            raise Unreachable("connect_failed", "the target does not answer")
        remote = self._begin(endpoint.target, step)
        until = self._loop.time() + step.timeout_s
        self._write(step.mark, "begun\n", sink)
        await _first(remote.over, cancelled, step.timeout_s)
        if not remote.over.is_set():
            return await self._kill(remote, "cancelled" if self._loop.time() < until else "timed_out")
        if remote.lost:
            await asyncio.sleep(dice.uniform(0, 5))
            return Unconfirmed("the connection was lost")
        self._write(step.mark, f"done {step.mark}\n", sink)
        return Exited(remote.exit_code)

    async def check(self, endpoint: Endpoint, login: Login) -> Reached:
        await asyncio.sleep(self._dice.uniform(0.01, 1))
        if not self._answers(endpoint.target):
            raise Unreachable("connect_failed", "the target does not answer")
        return Reached(0.25, {"server": "simulated"})

    async def close(self) -> None:
        """Nothing is held."""

    @property
    def still_running(self) -> frozenset[str]:
        """The marks of what runs right now."""
        return frozenset(remote.mark for remote in self._running)

    def die(self, target: str, seconds: float, fault: Fault) -> None:
        """For so long the target does not answer, and everything that runs on it ends; whoever is connected finds out later."""
        self.down[target] = fault
        for remote in [r for r in self._running if r.target == target]:
            self._lose(remote, fault)
            self._end(remote)
        self._loop.later(seconds, _over, self.down, target, fault)

    def part(self, executor: Process, targets: Collection[str], seconds: float, fault: Fault) -> None:
        """Nothing passes between an executor and these targets for so long; what runs there goes on unheard."""
        for pair in ((executor, target) for target in targets):
            self.split[pair] = fault
            self._loop.later(seconds, _over, self.split, pair, fault)
        for remote in [r for r in self._running if self.split.get((r.executor, r.target)) is fault]:
            self._lose(remote, fault)

    def _answers(self, target: str) -> bool:
        fault = self.down.get(target) or self.split.get((PROCESS.get(), target))
        return fault is None or not fault.bites()

    def _write(self, mark: str, text: str, sink: OutputSink) -> None:
        self.written[mark] = self.written.get(mark, "") + text
        sink("stdout", text.encode())

    def _begin(self, target: str, step: Invocation) -> _Remote:
        runs = [Partition("runs", shard) for shard in range(self._log.shards)]
        self.starts.append(Start(step.mark, target, {p: self._log.storage.stable_end(p) for p in runs}))
        remote = _Remote(step.mark, PROCESS.get(), target, 1 if self._happens("step fails", 0.08) else 0)
        self._running[remote] = None
        if self._happens("step hangs", 0.04):
            return remote
        if cut := self._network.fault_by_chance("connection lost", 0.03):
            self._loop.later(self._dice.uniform(0.02, 3), self._lose, remote, cut)
        self._loop.later(self._dice.uniform(0.02, 3), self._end, remote)
        return remote

    def _end(self, remote: _Remote) -> None:
        self._running.pop(remote, None)
        remote.over.set()

    def _lose(self, remote: _Remote, fault: Fault) -> None:
        """The connection is lost; what runs there goes on."""
        if not remote.over.is_set():
            fault.bites()
            remote.lost = True
            remote.over.set()

    async def _kill(self, remote: _Remote, why: str) -> Ending:
        await asyncio.sleep(self._dice.uniform(0.05, 1))
        if not self._answers(remote.target) or remote.lost or self._happens("kill unconfirmed", 0.1):
            return Unconfirmed("it could not be confirmed that the step is dead")
        self._end(remote)
        return Killed(why)  # type: ignore[arg-type]

    def _happens(self, what: str, chance: float) -> bool:
        return self._network.happens(what, chance)


def _over(faults: dict[Any, Fault], where: Any, fault: Fault) -> None:
    """This fault ends there; one that came after it goes on."""
    if faults.get(where) is fault:
        del faults[where]


async def _first(one: asyncio.Event, other: asyncio.Event, within_s: float) -> None:
    """Return when one of both is set, or after `within_s` seconds."""
    waiting = [asyncio.ensure_future(each.wait()) for each in (one, other)]
    try:
        await asyncio.wait(waiting, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()

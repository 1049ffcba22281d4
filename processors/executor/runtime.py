"""How does the executor's core get to work? One loop takes inputs one by one, does the core's actions as tasks and hands their
results back as inputs. The same runtime serves both bindings and the simulation: every way to the outside is injected.

Heartbeats stop when the loop stops turning, so a stuck executor loses its runs as a dead one does.

An orderly stop: claim and start nothing more; wait up to a grace for running steps to end and be reported; kill what still
runs and report it as `lost`; say `leaving`, so that the sweeper hands the runs over at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from domain.identity import RUN, stream_of
from domain.run.messages import Failure, StepEnd
from domain.selector import parse_selector
from processors.delivery import Delivery, Sleep
from processors.executor.actions import (
    Action,
    Answered,
    AskFinal,
    CheckAbandoned,
    CheckTarget,
    FindTargets,
    ForgetRun,
    GraceOver,
    HistoryRead,
    Input,
    KillSteps,
    PlanFailed,
    ReadHistory,
    Seen,
    Send,
    StartStep,
    StepDone,
    StepHeldBack,
    Stopping,
    Swept,
    TargetsFound,
    WaitedForFinal,
    Woke,
)
from processors.executor.connector import Cancellation, Connector
from processors.executor.core import ExecutorCore, Limits
from processors.executor.held_run import NOT_KNOWN, Terms
from processors.executor.inventory import Inventory, InventoryUnavailable
from processors.executor.materials import Materials, Unusable
from processors.executor.output import OutputPublisher
from processors.executor.step_runner import Crashed, HeldBack, Ways, run_step
from processors.executor.target_check import check_target
from processors.getting_on import GettingOn
from processors.processor import Clock, now_by
from schemas.event_envelope import EventEnvelope
from schemas.heartbeat import Heartbeat
from schemas.log import CommandSender, LogError, Outcomes, RecordSender
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.topics import EXECUTORS
from schemas.vault import Vault

T = TypeVar("T")

SWEEP_EVERY_S = 2.0
KILL_WITHIN_S = 5.0
SHORTEST_WAIT_S = 0.01
AFTER_A_BUG_S = 1.0
EMPTY_PLAN_AGAIN_S = 1.0
"""A selector that means nothing is asked for once more after this: the inventory may lag behind the log."""


_Asynchronous = Send | ReadHistory | FindTargets | AskFinal | CheckTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSettings:
    """`executor` is a stable name and the process's own uuid; seconds for lease (after which silence loses runs) and grace."""

    executor: str
    lease_s: float = 15.0
    grace_s: float = 10.0
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorPorts:
    """Everything outside. `shards` is the log's number of shards; `crashed` is told of errors nobody foresaw."""

    sender: CommandSender
    outcomes: Outcomes
    records: RecordSender
    shards: int
    inventory: Inventory
    vault: Vault
    connector: Connector
    clock: Clock
    sleep: Sleep
    crashed: Crashed


class ExecutorRuntime:
    """One executor process. `run` works until `stop` has finished (or it is cancelled: a crash, as far as others can tell)."""

    def __init__(self, settings: ExecutorSettings, ports: ExecutorPorts) -> None:
        self.settings = settings
        self._ports = ports
        self._core = ExecutorCore(Terms(settings.executor, settings.lease_s), settings.limits)
        self._delivery = Delivery(ports.sender, ports.outcomes, ports.sleep)
        self._materials = Materials(ports.inventory, ports.vault, ports.clock, ports.sleep)
        self._publisher = OutputPublisher(ports.records, ports.shards, ports.clock, ports.sleep)
        self._ways = Ways(ports.connector, self._materials, self._publisher, ports.clock.monotonic, ports.crashed)
        self._inputs: asyncio.Queue[tuple[Input, asyncio.Future[None] | None]] = asyncio.Queue()
        self._tasks: dict[asyncio.Task[None], None] = {}  # in their order, so that a simulated stop is the same every time
        self._cancelled: dict[str, dict[str, Cancellation]] = {}
        self._stop = asyncio.Event()
        self._turned_at = ports.clock.monotonic()
        self._sweeping = GettingOn("unfinished runs have not been looked for in time", "the read models", ports.clock.monotonic)

    async def offer(self, event: EventEnvelope) -> None:
        """Take in an event of a run or a target. After this it is taken over: known here, or brought again by the sweep."""
        if self._core.knows(event):
            return  # most are our own doing: each accepted report was taken in with its answer
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inputs.put_nowait((Seen(event), taken))
        await taken

    def stop(self) -> None:
        """Begin an orderly stop; `run` returns when it is done."""
        self._stop.set()

    @property
    def trouble(self) -> str | None:
        """Why it does not get on: what it has to bring in by looking through the read models it cannot look for; or None."""
        return self._sweeping.trouble

    @property
    def running(self) -> int:
        """How many steps run here."""
        return self._core.running

    async def run(self) -> None:
        """Work until stopped."""
        service = [asyncio.create_task(each) for each in (self._turns(), self._sweeps(), self._heartbeats())]
        stopping = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait([*service, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()
            await self._leave()
        finally:
            await self._end([*service, stopping])

    # --- turns ------------------------------------------------------------------------------------------------------

    async def _turns(self) -> None:
        while True:
            given, taken = await self._next()
            self._turned_at = self._ports.clock.monotonic()
            try:
                for action in self._core.react(given, now_by(self._ports.clock)):
                    self._do(action)
            finally:
                if taken and not taken.done():
                    taken.set_result(None)

    async def _next(self) -> tuple[Input, asyncio.Future[None] | None]:
        if not self._inputs.empty():
            return self._inputs.get_nowait()
        wake_at = self._core.wake_at()
        heartbeat_s = self.settings.lease_s / 5
        wait = heartbeat_s if wake_at is None else min(heartbeat_s, wake_at - self._ports.clock.monotonic())
        try:
            async with asyncio.timeout(max(SHORTEST_WAIT_S, wait)):
                return await self._inputs.get()
        except TimeoutError:
            return Woke(), None

    def _give(self, given: Input) -> None:
        self._inputs.put_nowait((given, None))

    def _do(self, action: Action) -> None:
        match action:
            case KillSteps(run):
                for cancelled in self._cancelled.get(run, {}).values():
                    cancelled.set()
            case StartStep():
                cancelled = self._cancelled.setdefault(action.run, {})[action.start.target] = Cancellation()
                self._spawn(self._step(action, cancelled))
            case ForgetRun(run):
                self._materials.forget(run)
            case _:
                self._spawn(self._supervised(action))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    async def _supervised(self, action: _Asynchronous) -> None:
        try:
            await self._done(action)
        except Exception as error:  # noqa: BLE001 - one task's bug must neither end the others nor leave its run waiting
            self._ports.crashed(type(action).__name__, error)
            await self._ports.sleep(AFTER_A_BUG_S)
            self._recover(action)

    async def _done(self, action: _Asynchronous) -> None:
        match action:
            case Send():
                await self._send(action)
            case ReadHistory(run):
                await self._read_history(run)
            case FindTargets():
                await self._find_targets(action)
            case AskFinal():
                await self._ask_final(action)
            case CheckTarget():
                self._give(await check_target(action, self._ports.inventory, self._ways, self._ports.sleep))

    def _recover(self, action: _Asynchronous) -> None:
        match action:
            case Send():
                self._do(action)  # the same command again: nothing is known of what became of it
            case ReadHistory(run):
                self._give(HistoryRead(run, None))
            case FindTargets(run, epoch):
                self._give(PlanFailed(run, epoch, Failure("internal_error", "the plan could not be made")))
            case CheckTarget(target, check):
                self._give(CheckAbandoned(target, check))

    # --- work -------------------------------------------------------------------------------------------------------

    async def _send(self, action: Send) -> None:
        result = await self._delivery.deliver(action.command)
        if action.run is not None:
            self._give(Answered(action.run, action.command.command_id, result))

    async def _read_history(self, run: str) -> None:
        try:
            recorded = await self._ports.inventory.history(stream_of(RUN, run))
        except InventoryUnavailable:
            self._give(HistoryRead(run, None))
            return
        self._give(HistoryRead(run, [each.event for each in recorded]))

    async def _find_targets(self, action: FindTargets) -> None:
        try:
            await self._materials.opened(action.run, action.request)
            selector = parse_selector(action.request.targets)
            targets = await self._patiently(lambda: self._ports.inventory.targets(selector))
            if not targets:
                await self._ports.sleep(EMPTY_PLAN_AGAIN_S)
                targets = await self._patiently(lambda: self._ports.inventory.targets(selector))
        except Unusable as error:
            self._give(PlanFailed(action.run, action.epoch, Failure(error.code, error.message)))
            return
        self._give(TargetsFound(action.run, action.epoch, targets))

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except InventoryUnavailable:
                await self._ports.sleep(1.0)

    async def _step(self, action: StartStep, cancelled: Cancellation) -> None:
        try:
            end = await run_step(action, cancelled, self._ways)
        except HeldBack:
            self._give(StepHeldBack(action.run, action.epoch, action.start))
        except Exception as error:  # noqa: BLE001 - a bug must end this step, not leave its run waiting for ever
            self._ports.crashed(f"step {action.start.step} on {action.start.target}", error)
            step, target, attempt = action.start.step, action.start.target, action.start.attempt
            self._give(StepDone(action.run, action.epoch, StepEnd(step, target, attempt, "lost", error=NOT_KNOWN)))
        else:
            self._give(StepDone(action.run, action.epoch, end))
        finally:
            del self._cancelled[action.run][action.start.target]
            if not self._cancelled[action.run]:
                del self._cancelled[action.run]

    async def _ask_final(self, action: AskFinal) -> None:
        with suppress(InventoryUnavailable):
            if await self._ports.inventory.are_final(action.waits_for):
                self._give(WaitedForFinal(action.run))

    # --- sweeps, heartbeats, the end --------------------------------------------------------------------------------

    async def _sweeps(self) -> None:
        while True:
            began = self._ports.clock.monotonic()
            with suppress(InventoryUnavailable):
                runs = await self._ports.inventory.unfinished_runs()
                self._give(Swept(runs, await self._ports.inventory.open_checks()))
                self._sweeping.came_through(self._ports.clock.monotonic() - began)
            await self._ports.sleep(SWEEP_EVERY_S)

    async def _heartbeats(self) -> None:
        while True:
            told = self._ports.clock.monotonic() - self._turned_at < self.settings.lease_s and await self._beat(leaving=False)
            await self._ports.sleep(self.settings.lease_s / (5 if told else 20))

    async def _beat(self, leaving: bool) -> bool:
        """Whether it was written."""
        executor = self.settings.executor
        beat = Heartbeat(executor=executor, time=self._ports.clock.now(), running=self._core.running, leaving=leaving)
        partition = Partition(EXECUTORS, shard_of(executor, self._ports.shards))
        try:
            await self._ports.records.publish(partition, [beat])
        except LogError:
            return False  # the next one follows soon; a lease is several of them
        return True

    async def _leave(self) -> None:
        self._give(Stopping())
        if not await self._idle_within(self.settings.grace_s):
            self._give(GraceOver())
            await self._idle_within(KILL_WITHIN_S)
        await self._beat(leaving=True)

    async def _idle_within(self, seconds: float) -> bool:
        until = self._ports.clock.monotonic() + seconds
        while not (idle := self._core.is_idle and self._inputs.empty()) and self._ports.clock.monotonic() < until:
            await self._ports.sleep(0.05)
        return idle

    async def _end(self, service: list[asyncio.Task[Any]]) -> None:
        every = [*service, *self._tasks]
        for task in every:
            task.cancel()
        await asyncio.gather(*every, return_exceptions=True)
        await self._publisher.close()

"""Executors that are killed, paused, stopped or answered by nobody: on the memory log, in fake time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from domain.job.definition import CommandStep, Retries, Strategy
from domain.run.messages import (
    LateReportReceived,
    RunClaimed,
    RunResumed,
    StepFinished,
    StepStarted,
)
from processors.executor.connector import Exited
from processors.executor.inventory import InventoryUnavailable
from schemas.log import LogUnavailable, ResultUnknown
from schemas.vault import VaultError
from tests.processors.fake_time import simulated
from tests.processors.world import LEASE_S, World, working

Story = Callable[[], Awaitable[None]]

TWO_STEPS = (CommandStep(name="one", run="a"), CommandStep(name="two", run="b"))


def once(**more: Any) -> tuple[CommandStep, ...]:
    return (CommandStep(name="say", run="echo ok", **more),)


def of(kind: type[Any], events: list[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


class Forgetful:
    """Every other command fails after it was written, every third before."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.sent: list[Any] = []

    async def send(self, command: Any) -> None:
        self.sent.append(command)
        if len(self.sent) % 3 == 0:
            raise LogUnavailable("the test says so")
        await self._world.log.sender.send(command)
        if len(self.sent) % 2 == 0:
            raise ResultUnknown("the test says so")


def test_a_command_of_unknown_result_is_sent_again_under_its_id_and_nothing_happens_twice():
    async def story() -> None:
        world = World()
        async with working(world, executors=0):
            await world.furnish(targets=3, steps=TWO_STEPS)
            sender = Forgetful(world)
            executor = world.executor(sender=sender)
            run = await world.request()
            assert (await world.finished(run)).state == "succeeded"
            ids = [command.command_id for command in sender.sent]
            assert len(set(ids)) < len(ids)
            await world.sound(run)
            await executor.kill()

    simulated(story())


def test_a_killed_executor_s_run_goes_on_elsewhere_with_what_was_not_started():
    async def story() -> None:
        world = World()
        world.fleet.seconds = 20
        async with working(world, executors=2) as (first, second), world.sweeping():
            await world.furnish(targets=3, strategy=Strategy(parallelism=1))
            run = await world.request()
            await world.until(run, StepFinished, 1)
            await world.until(run, StepStarted, 2)
            holder = of(RunClaimed, await world.of(run))[0].executor
            await (first if holder == "executor-1" else second).kill()
            end = await world.finished(run)
            assert (end.state, end.targets) == ("failed", {"succeeded": 2, "lost": 1})
            events = await world.of(run)
            assert len(of(RunClaimed, events)) == 2 and len(of(RunResumed, events)) == 1
            await world.sound(run)

    simulated(story())


def test_an_executor_paused_longer_than_its_lease_starts_nothing_and_its_results_come_late():
    async def story() -> None:
        world = World()
        world.fleet.seconds = 10
        async with working(world, executors=0), world.sweeping():
            await world.furnish(targets=4, strategy=Strategy(parallelism=1))
            paused = PausedAfter(world)
            first = world.executor("executor-1", records=paused.records, sender=paused, fed=False, inventory=paused)
            run = await world.request()
            await world.until(run, StepStarted, 1)
            second = world.executor("executor-2")
            paused.pause()
            await world.until(run, RunClaimed, 2)
            paused.resume()
            end = await world.finished(run)
            events = await world.of(run)
            assert (end.state, end.targets) == ("failed", {"lost": 1, "succeeded": 3})
            await until_late(world, run)
            (late,) = of(LateReportReceived, await world.of(run))
            assert late.executor == "executor-1" and [e.target for e in late.entries] == ["web-000"]
            assert [e.epoch for e in of(StepStarted, events)] == [1, 2, 2, 2]
            await world.sound(run)
            await first.kill()
            await second.kill()

    simulated(story())


async def until_late(world: World, run: str) -> None:
    await world.until(run, LateReportReceived)


class PausedAfter:
    """An executor's ways to the log, through which nothing goes while it is paused."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._going = asyncio.Event()
        self._going.set()
        self.records = self

    def pause(self) -> None:
        self._going.clear()

    def resume(self) -> None:
        self._going.set()

    async def send(self, command: Any) -> None:
        await self._going.wait()
        await self._world.log.sender.send(command)

    async def publish(self, partition: Any, records: Any) -> int:
        await self._going.wait()
        return await self._world.log.records.publish(partition, records)

    def __getattr__(self, name: str) -> Any:
        async def asked(*given: Any) -> Any:
            await self._going.wait()
            return await getattr(self._world.read_model, name)(*given)

        return asked


def test_an_orderly_stop_lets_short_steps_end_and_hands_the_run_over_at_once():
    async def story() -> None:
        world = World()
        world.fleet.seconds = 4
        async with working(world, executors=0), world.sweeping():
            await world.furnish(targets=3, strategy=Strategy(parallelism=1))
            first = world.executor("executor-1")
            run = await world.request()
            await world.until(run, StepStarted, 1)
            second = world.executor("executor-2")
            began = world.clock.monotonic()
            await first.stop()
            assert world.clock.monotonic() - began < 6
            end = await world.finished(run)
            assert (end.state, end.targets) == ("succeeded", {"succeeded": 3})
            assert world.clock.monotonic() - began < 25
            await world.sound(run)
            await second.kill()

    simulated(story())


def test_an_orderly_stop_kills_long_steps_after_its_grace_and_says_lost():
    async def story() -> None:
        world = World()
        world.fleet.seconds = 1_000
        async with working(world, executors=0), world.sweeping():
            await world.furnish()
            first = world.executor("executor-1")
            run = await world.request()
            await world.until(run, StepStarted, 1)
            await first.stop()
            assert not world.fleet.running
            (finished,) = of(StepFinished, await world.of(run))
            assert (finished.state, finished.error.code) == ("lost", "executor_stopped")

    simulated(story())


class ShutVault:
    """Opens nothing for a long time."""

    async def open(self, secret_id: str, bound_to: str) -> bytes:
        raise VaultError("no answer")


@pytest.mark.parametrize("retries", [0, 1])
def test_a_step_that_waits_for_its_credential_when_its_executor_stops_begins_elsewhere(retries: int):
    async def story() -> None:
        world = World()
        async with working(world, executors=0), world.sweeping():
            step = CommandStep(name="say", run="echo ok", retries=Retries(max=retries))
            await world.furnish(steps=(step,))
            first = world.executor("executor-1", vault=ShutVault())
            run = await world.request()
            await world.until(run, StepStarted, 1)
            second = world.executor("executor-2")
            began = world.clock.monotonic()
            await first.stop()
            assert world.clock.monotonic() - began < 11
            assert (await world.finished(run)).targets == {"succeeded": 1}
            never_sent, succeeded = of(StepFinished, await world.of(run))
            assert (never_sent.state, never_sent.error.code, never_sent.retry) == ("unreachable", "never_sent", True)
            assert (succeeded.state, succeeded.attempt) == ("succeeded", 2)
            assert sum(world.fleet.starts.values()) == 1
            await world.sound(run)
            await second.kill()

    simulated(story())


class Recording:
    """Remembers what was sent."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.sent: list[tuple[float, Any]] = []

    async def send(self, command: Any) -> None:
        self.sent.append((self._world.clock.monotonic(), command))
        await self._world.log.sender.send(command)


class SlowVault:
    """Takes twenty seconds to open a secret."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def open(self, secret_id: str, bound_to: str) -> bytes:
        await asyncio.sleep(20)
        return await self._world.vault.open(secret_id, bound_to)


def test_a_step_whose_login_took_longer_than_a_lease_starts_only_after_a_fresh_report():
    async def story() -> None:
        world = World()
        started: list[float] = []
        world.fleet.script = lambda endpoint, step, sink: started.append(world.clock.monotonic()) or Exited(0)
        async with working(world, executors=0):
            await world.furnish()
            sender = Recording(world)
            executor = world.executor(sender=sender, vault=SlowVault(world))
            run = await world.request()
            assert (await world.finished(run)).state == "succeeded"
            reports = [(at, command) for at, command in sender.sent if command.type == "ReportRun"]
            (fresh,) = [at for at, command in reports if b'"entries":[]' in command.payload]
            assert reports[0][0] + LEASE_S < fresh <= started[0] < fresh + 1
            await world.sound(run)
            await executor.kill()

    simulated(story())


class Buggy:
    """Raises what nobody foresaw on the first call of every kind, and then goes on as it should."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.raised: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        async def called(*given: Any) -> Any:
            if name not in self.raised:
                self.raised.add(name)
                raise KeyError(name)
            return await getattr(self._inner, name)(*given)

        return called


def test_a_bug_in_one_task_leaves_no_run_waiting():
    async def story() -> None:
        world = World()
        async with working(world, executors=0):
            await world.furnish(steps=once(idempotent=True))
            vault, sender = Buggy(world.vault), Buggy(world.log.sender)
            executor = world.executor(vault=vault, sender=sender)
            run = await world.request()
            assert (await world.finished(run)).state == "succeeded"
            (first, _) = of(StepFinished, await world.of(run))
            assert (first.state, first.error.code) == ("lost", "result_unknown")
            assert {what for what, _ in world.crashes} == {"Send", "step say on web-000"}
            await executor.kill()

    simulated(story())


def test_an_executor_says_when_it_cannot_look_for_runs():
    async def story() -> None:
        world = World()
        async with working(world, executors=0):
            await world.furnish()
            executor = world.executor()
            assert executor.runtime.trouble == "unfinished runs have not been looked for in time yet"
            await asyncio.sleep(5)
            assert executor.runtime.trouble is None
            world.read_model.available = False
            await asyncio.sleep(10)
            assert executor.runtime.trouble is None, "they may be away for a moment"
            await asyncio.sleep(10)
            assert "have not been looked for in time since" in (executor.runtime.trouble or "")
            world.read_model.available = True
            await asyncio.sleep(5)
            assert executor.runtime.trouble is None
            await executor.stop()

    simulated(story())


def test_a_step_waits_while_its_credential_cannot_be_looked_up_and_then_runs():
    """That the read models are away says nothing of the target."""

    async def story() -> None:
        world = World()
        async with working(world, executors=1):
            await world.furnish(targets=2, steps=TWO_STEPS)
            credential = world.read_model.credential

            async def away(name: str) -> Any:
                raise InventoryUnavailable("the test says so")

            world.read_model.credential = away  # type: ignore[method-assign]
            run = await world.request()
            await world.until(run, StepStarted)
            await asyncio.sleep(300)
            world.read_model.credential = credential  # type: ignore[method-assign]
            assert (await world.finished(run)).state == "succeeded"
            await world.sound(run)

    simulated(story())

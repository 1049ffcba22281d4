"""Does an executor that knows as many runs as it may still take up the one that the others wait for?"""

import asyncio

from domain.job.definition import Strategy
from domain.run.messages import RunRequested, StepStarted
from infra.memory.state_store import MemoryStateStores
from processors.executor.core import Limits
from processors.executor.runtime import ExecutorRuntime, ExecutorSettings
from tests.commands.owning import running
from tests.processors.fake_time import simulated
from tests.processors.world import LEASE_S, RunningExecutor, World


def limited(world: World, name: str, limits: Limits) -> RunningExecutor:
    settings = ExecutorSettings(executor=name, lease_s=LEASE_S, limits=limits)
    return RunningExecutor(world, ExecutorRuntime(settings, world.ports()), fed=True)


def test_runs_that_only_wait_do_not_keep_out_the_run_they_wait_for() -> None:
    async def story() -> None:
        world = World()
        async with running(world.log, MemoryStateStores()), world.sweeping():
            await world.furnish(targets=2, concurrency="queue", strategy=Strategy(parallelism=1))
            world.fleet.seconds = 60
            lost = limited(world, "executor-1", Limits())
            first = await world.request(1)
            await world.until(first, StepStarted)
            left = limited(world, "executor-2", Limits(runs=1, waiting=1))
            waiting = [await world.request(number) for number in (2, 3, 4)]
            await world.until(waiting[-1], RunRequested)
            await lost.kill()
            world.fleet.seconds = 1
            for run in (first, *waiting):
                await world.finished(run)
            assert not left.runtime._core._runs
            await left.kill()

    simulated(story())


def test_it_holds_no_more_waiting_runs_than_it_may() -> None:
    async def story() -> None:
        world = World()
        async with running(world.log, MemoryStateStores()):
            await world.furnish(concurrency="queue")
            world.fleet.seconds = 60
            executor = limited(world, "executor-1", Limits(runs=2, waiting=2))
            first = await world.request(1)
            await world.until(first, StepStarted)
            waiting = [await world.request(number) for number in range(2, 12)]
            world.fleet.seconds = 1
            most = 0
            while not await world.read_model.are_final([first, *waiting]):
                most = max(most, len(executor.runtime._core._runs))
                await asyncio.sleep(0.25)
            assert 3 < most <= 2 + 2 * 2
            await executor.kill()

    simulated(story(), within_s=2_000)

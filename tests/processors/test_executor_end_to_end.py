"""Executors, a sweeper and an owner on the memory log, in fake time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from domain.identity import RUN, TARGET, stream_of
from domain.job.definition import CommandStep, Retries, Strategy
from domain.job.parameters import Parameter, SealedValue
from domain.run.messages import (
    CancelRun,
    RunCancelRequested,
    RunClaimed,
    RunPlanned,
    StepFinished,
    StepStarted,
)
from domain.target import RequestTargetCheck, TargetChecked
from processors.executor.connector import Exited, Unconfirmed, Unreachable
from schemas.actor import system
from schemas.vault import bound_to_run
from tests.processors.fake_time import simulated
from tests.processors.world import SECRET, World, working
from tests.support.builders import ALICE, run_of

Story = Callable[[], Awaitable[None]]

TWO_STEPS = (CommandStep(name="one", run="a"), CommandStep(name="two", run="b"))


def once(**more: Any) -> tuple[CommandStep, ...]:
    return (CommandStep(name="say", run="echo ok", **more),)


def of(kind: type[Any], events: list[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_a_run_is_claimed_planned_and_done_on_every_target():
    async def story() -> None:
        world = World()
        async with working(world):
            await world.furnish(targets=5, steps=TWO_STEPS)
            run = await world.request()
            end = await world.finished(run)
            assert (end.state, end.targets) == ("succeeded", {"succeeded": 5})
            events = await world.of(run)
            assert [e.part for e in of(RunPlanned, events)] == [1]
            assert [e.state for e in of(StepFinished, events)] == ["succeeded"] * 10
            assert world.fleet.starts.total() == 10
            await world.sound(run)

    simulated(story())


def test_every_command_carries_the_run_s_correlation_its_cause_and_the_person_behind_it():
    async def story() -> None:
        world = World()
        async with working(world):
            await world.furnish()
            run = await world.request()
            await world.finished(run)
            envelopes = [e.event for e in await world.read_model.history(stream_of(RUN, run))]
            ids = [e.event_id for e in envelopes]
            for envelope in envelopes[1:]:
                assert envelope.actor == system("executor") and envelope.on_behalf_of == ALICE
                assert envelope.correlation_id == envelopes[0].correlation_id
                assert envelope.causation_id in ids[: envelope.version - 1]

    simulated(story())


def test_parallelism_holds_and_a_thousand_targets_do_not_cost_a_round_trip_each():
    async def story() -> None:
        world = World()
        async with working(world):
            await world.furnish(targets=200, strategy=Strategy(parallelism=50))
            run = await world.request()
            assert (await world.finished(run)).state == "succeeded"
            assert world.fleet.most == 50
            reports = {e.event.command_id for e in await world.read_model.history(stream_of(RUN, run))}
            assert len(reports) < 20, f"{len(reports)} commands"
            await world.sound(run)

    simulated(story())


def test_three_executors_race_and_each_run_is_claimed_once():
    async def story() -> None:
        world = World()
        async with working(world, executors=3):
            await world.furnish()
            runs = [await world.request(number) for number in range(20)]
            for run in runs:
                assert (await world.finished(run)).state == "succeeded"
                assert len(of(RunClaimed, await world.of(run))) == 1
                await world.sound(run)

    simulated(story())


def test_a_sweep_brings_what_no_event_said():
    async def story() -> None:
        world = World()
        async with working(world, fed=False):
            await world.furnish(targets=2)
            run = await world.request()
            assert (await world.finished(run)).state == "succeeded"
            await world.tell(RequestTargetCheck("c1"), stream_of(TARGET, "web-000"))
            await until_checked(world)

    simulated(story())


async def until_checked(world: World) -> TargetChecked:
    while not (found := [e for _, e in await world.read_model.domain(TARGET) if isinstance(e, TargetChecked)]):
        await asyncio.sleep(0.1)
    return found[0]


def test_a_target_check_is_tried_and_recorded():
    async def story() -> None:
        world = World()
        async with working(world):
            await world.furnish()
            await world.tell(RequestTargetCheck("c1"), stream_of(TARGET, "web-000"))
            checked = await until_checked(world)
            assert (checked.check, checked.reachable, checked.seconds) == ("c1", True, 0.25)

    simulated(story())


def test_a_failed_step_is_tried_again_after_its_back_off():
    async def story() -> None:
        world = World()
        codes = iter((1, 1, 0))
        world.fleet.script = lambda endpoint, step, sink: Exited(next(codes))
        async with working(world):
            await world.furnish(steps=once(retries=Retries(2, 30)))
            run = await world.request()
            began = world.clock.monotonic()
            assert (await world.finished(run)).state == "succeeded"
            assert 63 <= world.clock.monotonic() - began < 70
            assert [e.attempt for e in of(StepStarted, await world.of(run))] == [1, 2, 3]
            await world.sound(run)

    simulated(story())


def test_too_many_failures_begin_no_further_target():
    async def story() -> None:
        world = World()
        world.fleet.script = lambda endpoint, step, sink: Exited(7)
        async with working(world):
            await world.furnish(targets=10, strategy=Strategy(parallelism=2, max_failures=3))
            end = await world.finished(await world.request())
            assert end.state == "failed" and end.targets["failed"] <= 5 and end.targets["skipped"] >= 5

    simulated(story())


@pytest.mark.parametrize(
    ("said", "state", "code"),
    [
        (Exited(3), "failed", None),
        (Unreachable("host_key_changed", "the key is another"), "unreachable", "host_key_changed"),
        (Unconfirmed("the connection broke"), "lost", "result_unknown"),
        (RuntimeError("a bug"), "lost", "result_unknown"),
    ],
)
def test_what_a_step_came_to_is_said(said: Any, state: str, code: str | None):
    async def story() -> None:
        world = World()
        world.fleet.script = lambda endpoint, step, sink: said
        async with working(world):
            await world.furnish()
            run = await world.request()
            await world.finished(run)
            (finished,) = of(StepFinished, await world.of(run))
            assert finished.state == state
            assert (finished.error.code if finished.error else None) == code

    simulated(story())


def test_a_step_over_its_time_is_timed_out():
    async def story() -> None:
        world = World()
        world.fleet.seconds = 100
        async with working(world):
            await world.furnish(steps=once(timeout_s=5))
            run = await world.request()
            assert (await world.finished(run)).state == "failed"
            assert of(StepFinished, await world.of(run))[0].state == "timed_out"

    simulated(story())


def test_a_run_over_its_time_ends_timed_out_with_its_steps():
    async def story() -> None:
        world = World()
        world.fleet.seconds = 1_000
        async with working(world):
            await world.furnish(targets=3, timeout_s=60, strategy=Strategy(parallelism=2))
            run = await world.request()
            end = await world.finished(run)
            assert (end.state, end.targets) == ("timed_out", {"timed_out": 2, "skipped": 1})
            steps = of(StepFinished, await world.of(run))
            assert [step.error and step.error.code for step in steps] == ["run_timed_out", "run_timed_out"]
            assert not world.fleet.running
            assert world.clock.monotonic() < 70

    simulated(story())


@pytest.mark.parametrize("fed", [True, False])
def test_cancelling_kills_what_runs_and_starts_nothing_more(fed: bool):
    async def story() -> None:
        world = World()
        world.fleet.seconds = 1_000
        async with working(world, fed=fed):
            await world.furnish(targets=5, strategy=Strategy(parallelism=2))
            run = await world.request()
            await world.until(run, StepStarted, 2)
            await world.tell(CancelRun("enough"), stream_of(RUN, run))
            asked = world.clock.monotonic()
            end = await world.finished(run)
            assert (end.state, end.targets) == ("cancelled", {"cancelled": 5})
            assert world.clock.monotonic() - asked < 5
            assert world.fleet.starts.total() == 2
            await world.sound(run)

    simulated(story())


def test_a_cancel_between_intent_and_answer_starts_nothing():
    async def story() -> None:
        world = World()
        world.fleet.seconds = 1_000
        async with working(world, fed=False, executors=0):
            await world.furnish()
            sender = Slowed(world, "ReportRun")
            executor = world.executor(sender=sender)
            run = await world.request()
            await sender.reached.wait()
            await world.tell(CancelRun(), stream_of(RUN, run))
            sender.go.set()
            assert (await world.finished(run)).state == "cancelled"
            assert not world.fleet.starts
            await executor.kill()

    simulated(story())


class Slowed:
    """Holds the first command of a type back until told to let it go."""

    def __init__(self, world: World, kind: str) -> None:
        self._world, self._kind = world, kind
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def send(self, command: Any) -> None:
        if command.type == self._kind and not self.reached.is_set():
            self.reached.set()
            await self.go.wait()
        await self._world.log.sender.send(command)


def test_a_queued_run_begins_when_those_before_it_are_final():
    async def story() -> None:
        world = World()
        world.fleet.seconds = 30
        async with working(world):
            await world.furnish(concurrency="queue")
            first, second = await world.request(1), await world.request(2)
            await asyncio.sleep(20)
            assert world.fleet.starts.total() == 1
            assert (await world.finished(first)).state == "succeeded"
            assert (await world.finished(second)).state == "succeeded"
            assert world.fleet.most == 1

    simulated(story())


def test_a_replacing_run_ends_those_before_it_first():
    async def story() -> None:
        world = World()
        world.fleet.seconds = 300
        async with working(world):
            await world.furnish(concurrency="replace")
            first = await world.request(1)
            await world.until(first, StepStarted)
            second = await world.request(2)
            assert (await world.finished(first)).state == "cancelled"
            (asked,) = of(RunCancelRequested, await world.of(first))
            assert second in asked.reason
            assert (await world.finished(second, 1_000)).state == "succeeded"
            assert world.fleet.most == 1

    simulated(story())


def test_a_selector_that_means_nothing_fails_the_run():
    async def story() -> None:
        world = World()
        async with working(world):
            await world.furnish(targets=1)
            end = await world.finished(await world.request(targets="role=none"))
            assert (end.state, end.error and end.error.code) == ("failed", "no_targets")

    simulated(story())


def test_a_label_that_the_script_asks_for_and_the_target_lacks_fails_the_step():
    async def story() -> None:
        world = World()
        async with working(world):
            await world.furnish(steps=(CommandStep(name="say", run="echo {{ labels.zone }}"),))
            run = await world.request()
            await world.finished(run)
            (finished,) = of(StepFinished, await world.of(run))
            assert (finished.state, finished.error.code) == ("failed", "label_missing")
            assert not world.fleet.starts

    simulated(story())


def test_an_absent_credential_makes_its_targets_unreachable():
    async def story() -> None:
        world = World()
        async with working(world):
            await world.furnish()
            await world.vault.destroy("s1")
            run = await world.request()
            await world.finished(run)
            (finished,) = of(StepFinished, await world.of(run))
            assert (finished.state, finished.error.code) == ("unreachable", "credential_unavailable")

    simulated(story())


def test_secrets_reach_the_step_and_never_its_output_or_its_error():
    async def story() -> None:
        world = World()

        def script(endpoint: Any, step: Any, sink: Any) -> Exception:
            for byte in f"token is {step.environment['OPS_PARAM_TOKEN']}, login {SECRET}\n".encode():
                sink("stdout", bytes([byte]))
            return Unreachable("connect_failed", f"refused {SECRET}")

        world.fleet.script = script
        async with working(world):
            await world.furnish(parameters=(Parameter(name="token", type="secret"), Parameter(name="days", type="integer")))
            await world.vault.seal("t1", bound_to_run(run_of(number=1), "token"), b"hunter2-hunter2")
            run = await world.request(parameters={"token": SealedValue("t1"), "days": 7})
            await world.finished(run)
            environment = world.fleet.environments[0]
            assert environment["OPS_PARAM_TOKEN"] == "hunter2-hunter2" and environment["OPS_PARAM_DAYS"] == "7"
            assert environment["OPS_TARGET_NAME"] == "web-000" and environment["OPS_RUN_ID"] == run
            chunks = await world.output()
            assert "".join(chunk.text for chunk in chunks) == "token is ***, login ***\n"
            (finished,) = of(StepFinished, await world.of(run))
            assert finished.error.message == "refused ***"
            assert finished.output_end is not None and finished.output_end >= 1

    simulated(story())


def test_a_secret_that_cannot_be_opened_fails_the_run_before_anything_starts():
    async def story() -> None:
        world = World()
        async with working(world):
            await world.furnish(parameters=(Parameter(name="token", type="secret"),))
            end = await world.finished(await world.request(parameters={"token": SealedValue("nowhere")}))
            assert (end.state, end.error and end.error.code) == ("failed", "secret_unavailable")
            assert not world.fleet.starts

    simulated(story())


def test_a_big_plan_comes_in_parts_below_the_record_limit():
    async def story() -> None:
        world = World()
        labels = {f"label-{number}": "x" * 150 for number in range(40)}
        async with working(world):
            await world.furnish(targets=150, labels=labels, strategy=Strategy(parallelism=150))
            run = await world.request()
            assert (await world.finished(run)).state == "succeeded"
            plans = of(RunPlanned, await world.of(run))
            assert [plan.part for plan in plans] == list(range(1, len(plans) + 1)) and len(plans) > 1
            payloads = [len(e.event.payload) for e in await world.read_model.history(stream_of(RUN, run))]
            assert max(payloads) < 500_000

    simulated(story())


def test_read_models_that_cannot_be_asked_only_delay():
    async def story() -> None:
        world = World()
        async with working(world):
            await world.furnish()
            world.read_model.available = False
            run = await world.request()
            await asyncio.sleep(60)
            world.read_model.available = True
            assert (await world.finished(run)).state == "succeeded"

    simulated(story())

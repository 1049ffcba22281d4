"""What happens to a step once its intent is accepted? Rendered, sent to its target, watched, and what it came to."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, TypeVar

from domain.run.messages import Failure, PlannedTarget, StepEnd, StepEndState
from processors.executor.actions import StartStep
from processors.executor.connector import (
    Cancellation,
    Connector,
    Ending,
    Endpoint,
    Exited,
    Invocation,
    Killed,
    Login,
    Unconfirmed,
    Unreachable,
)
from processors.executor.environment import LabelMissing, rendered
from processors.executor.masking import MASK
from processors.executor.materials import Materials, Opened, Unusable
from processors.executor.output import Attempt, OutputPublisher, OutputUnpublished, StepOutput

T = TypeVar("T")

MAX_MESSAGE = 500

Crashed = Callable[[str, Exception], None]
"""Told of an error nobody foresaw: what was being done, and the error."""


class HeldBack(Exception):
    """The step was not started: the confirmation that we hold its run is too old by now, or it was to be ended before."""


@dataclass(frozen=True, slots=True)
class Ways:
    """What a step needs to be run. `monotonic` is the clock that `StartStep.valid_until` is measured by."""

    connector: Connector
    materials: Materials
    publisher: OutputPublisher
    monotonic: Callable[[], float]
    crashed: Crashed


async def run_step(order: StartStep, cancelled: Cancellation, ways: Ways) -> StepEnd:
    """Run one step to its end; its output is published when this returns. Raises `HeldBack` when it was not started."""
    try:
        opened, login = await _unless(cancelled, _materials(order, ways))
        step = opened.job.steps[order.step_index]
        ready = rendered(opened.job, step, order.run, order.target, opened.values)
    except Unusable as error:
        state: StepEndState = "unreachable" if error.code == "credential_unavailable" else "failed"
        return _ended(order, state, error=Failure(error.code, error.message))
    except LabelMissing as error:
        return _ended(order, "failed", error=Failure("label_missing", str(error)))
    if ways.monotonic() > order.valid_until:
        raise HeldBack
    invocation = Invocation(ready.shell, ready.script, ready.environment, step.timeout_s, _mark(order))
    output = ways.publisher.open(_attempt(order), ways.materials.forms(order.run, opened, login))
    end = await _watched(order, ways, login, invocation, output, cancelled)
    return await _published(_without_secrets(end, opened, login), output)


async def _materials(order: StartStep, ways: Ways) -> tuple[Opened, Login]:
    opened = await ways.materials.opened(order.run, order.request)
    return opened, await ways.materials.login(order.target.connection.credential)


async def _unless(cancelled: Cancellation, work: Coroutine[Any, Any, T]) -> T:
    """What `work` brings. Raises `HeldBack` as soon as the step is to be ended meanwhile.

    It is this task that works and is interrupted, in the way of `asyncio.timeout`: another task a step costs more than the rest.
    """
    if cancelled.is_set():
        work.close()
        raise HeldBack
    task = asyncio.current_task()
    assert task is not None
    others = task.cancelling()
    with cancelled.calls(task.cancel):
        try:
            return await work
        except asyncio.CancelledError:
            if not cancelled.is_set() or task.uncancel() > others:
                raise
            raise HeldBack from None


async def _watched(
    order: StartStep, ways: Ways, login: Login, invocation: Invocation, output: StepOutput, cancelled: Cancellation
) -> StepEnd:
    try:
        ending = await ways.connector.run(endpoint_of(order.target), login, invocation, output.write, cancelled)
    except Unreachable as error:
        return _ended(order, "unreachable", error=Failure(error.code, error.message))
    except Exception as error:  # noqa: BLE001 - a connector's bug must end this step as lost, not the executor
        ways.crashed(f"step {order.start.step} on {order.target.name}", error)
        return _ended(order, "lost", error=Failure("result_unknown", "the connection failed in a way nobody foresaw"))
    return _said(order, ending)


def _said(order: StartStep, ending: Ending) -> StepEnd:
    match ending:
        case Exited(exit_code=0):
            return _ended(order, "succeeded", exit_code=0)
        case Exited(exit_code=exit_code):
            return _ended(order, "failed", exit_code=exit_code)
        case Killed(why="timed_out"):
            return _ended(order, "timed_out", error=Failure("timed_out", "the step was over its time and was killed"))
        case Killed():
            return _ended(order, "cancelled")
        case Unconfirmed(message=message):
            return _ended(order, "lost", error=Failure("result_unknown", message))


def endpoint_of(target: PlannedTarget) -> Endpoint:
    """Where a target answers."""
    return Endpoint(target.name, target.host, target.connection.port, target.connection.host_key)


def _ended(order: StartStep, state: StepEndState, exit_code: int | None = None, error: Failure | None = None) -> StepEnd:
    return StepEnd(order.start.step, order.start.target, order.start.attempt, state, exit_code, error)


def _without_secrets(end: StepEnd, opened: Opened, login: Login) -> StepEnd:
    """A target's answer can find its way into an error message; a secret must not."""
    if end.error is None:
        return end
    message = end.error.message
    for secret in (*opened.secrets, login.password, login.private_key, login.passphrase):
        message = message.replace(secret, MASK) if secret else message
    return replace(end, error=Failure(end.error.code, shown(message)))


def shown(text: str) -> str:
    """What the world says about a target, as text that can be stored, of a bounded length."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()[:MAX_MESSAGE]


async def _published(end: StepEnd, output: StepOutput) -> StepEnd:
    try:
        return replace(end, output_end=await output.finish())
    except OutputUnpublished:
        return end


def _attempt(order: StartStep) -> Attempt:
    return Attempt(order.run, order.target.name, order.start.step, order.step_index, order.start.attempt)


def _mark(order: StartStep) -> str:
    said = "\n".join((order.run, order.start.step, order.start.target, str(order.start.attempt)))
    return "ops-" + sha256(said.encode()).hexdigest()[:32]

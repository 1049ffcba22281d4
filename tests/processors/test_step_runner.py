"""Is a step that waits for what it needs ended at once, and told apart from a task that is?"""

import asyncio

import pytest

from processors.executor.connector import Cancellation
from processors.executor.step_runner import HeldBack, _unless


async def waits(gate: asyncio.Event) -> str:
    await gate.wait()
    return "brought"


async def begun(cancelled: Cancellation, gate: asyncio.Event) -> asyncio.Task[str]:
    task = asyncio.create_task(_unless(cancelled, waits(gate)))
    await asyncio.sleep(0)
    return task


async def test_what_is_there_in_time_is_brought():
    cancelled, gate = Cancellation(), asyncio.Event()
    task = await begun(cancelled, gate)
    gate.set()
    assert await task == "brought"
    cancelled.set()
    await asyncio.sleep(0)
    assert task.cancelling() == 0, "a step that is over was to be ended"


async def test_a_step_to_be_ended_before_and_meanwhile_is_held_back_and_its_task_goes_on():
    cancelled, gate = Cancellation(), asyncio.Event()

    async def step() -> str:
        try:
            return await _unless(cancelled, waits(gate))
        except HeldBack:
            await asyncio.sleep(0)
            return "held back"

    task = asyncio.create_task(step())
    await asyncio.sleep(0)
    cancelled.set()
    assert await task == "held back"
    gate.set()
    assert await step() == "held back"


async def test_what_comes_in_the_same_turn_as_the_end_is_left():
    cancelled, gate = Cancellation(), asyncio.Event()
    task = await begun(cancelled, gate)
    gate.set()
    cancelled.set()
    with pytest.raises(HeldBack):
        await task


async def test_a_task_that_is_cancelled_is_cancelled_whether_its_step_was_to_be_ended_or_not():
    for is_ended in (False, True):
        cancelled = Cancellation()
        task = await begun(cancelled, asyncio.Event())
        if is_ended:
            cancelled.set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

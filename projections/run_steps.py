"""What became of each step on each target of a run?

A run's plan makes a pending row for every target and step. What is still pending when it can no longer start becomes `cancelled`
(the run was cancelled, or its target was) or `skipped` (anything else: the target failed before, the run is over).
"""

from collections.abc import Iterable

from domain.identity import name_of
from domain.run.messages import Failure, RunCancelRequested, RunFinished, RunPlanned, StepFinished, StepStarted
from projections.bulk import Key, Row
from projections.fact import Fact
from projections.own_rows import OwnRows
from projections.plain import plain
from projections.projection import Projection, RowPerStream
from projections.tables import run_steps, stored_time


def _touched(fact: Fact) -> Iterable[Key]:
    match fact.event:
        case StepStarted(target=target) | StepFinished(target=target):
            return [(name_of(fact.envelope.stream), target)]
    return []


def _fold(own: OwnRows, fact: Fact) -> None:
    run, time = name_of(fact.envelope.stream), stored_time(fact.envelope.time)
    match fact.event:
        case RunPlanned() as planned:
            _plan(own, run, planned)
        case StepStarted() as started:
            own.put({**_attempt(own, run, started), "state": "running", "started_at": time})
        case StepFinished() as finished:
            _finish(own, run, finished, time)
        case RunCancelRequested():
            own.change(run, "state", "pending", "cancelled")
        case RunFinished():
            own.change(run, "state", "pending", "skipped")


def _plan(own: OwnRows, run: str, event: RunPlanned) -> None:
    if event.part == 1:
        own.clear(run)  # an executor that takes an unplanned run over begins the plan anew
    for target in event.targets:
        for index, step in enumerate(event.steps):
            own.put(_pending(run, target.name, index, step, 1))


def _pending(run: str, target: str, index: int, step: str, attempt: int) -> Row:
    return {
        "run": run,
        "target": target,
        "step_index": index,
        "attempt": attempt,
        "step": step,
        "state": "pending",
        "exit_code": None,
        "error": None,
        "started_at": None,
        "finished_at": None,
    }


def _attempt(own: OwnRows, run: str, event: StepStarted | StepFinished) -> Row:
    index = next(row["step_index"] for row in own.below(run, event.target) if row["step"] == event.step)
    known = own.get(run, event.target, index, event.attempt)
    return known or _pending(run, event.target, index, event.step, event.attempt)


def _finish(own: OwnRows, run: str, event: StepFinished, time: str) -> None:
    row = _attempt(own, run, event)
    error = plain(Failure, event.error) if event.error else None
    own.put({**row, "state": event.state, "exit_code": event.exit_code, "error": error, "finished_at": time})
    if event.target_state is not None:
        left = "cancelled" if event.target_state == "cancelled" else "skipped"
        for later in own.below(run, event.target):
            if later["state"] == "pending":
                own.put({**later, "state": left})


RUN_STEPS = Projection("run_steps", ("runs",), (RowPerStream(run_steps, _touched, _fold),), revision=1)

"""Which steps may start now? And is the run over?"""

from collections.abc import Mapping

from domain.run.messages import RunFinished, RunResult, StepStart, TargetState
from domain.run.state import Active, Requested


def startable(state: Active) -> list[StepStart]:
    """Every step that may start now, in order: next steps of begun targets first, then new targets as far as batches,
    parallelism and failures allow. Back-off before a further attempt is up to the executor."""
    if state.ending:
        return []
    starts = [
        StepStart(state.rules.steps[progress.step].name, target, progress.attempt)
        for target, progress in state.active.items()
        if not progress.running
    ]
    return starts + [StepStart(state.rules.steps[0].name, target, 1) for target in _beginnable(state)]


def may_begin(state: Active, target: str) -> bool:
    """Whether `target` is the next one to begin, and may."""
    return state.begun < len(state.order) and state.order[state.begun] == target and bool(_beginnable(state))


def _beginnable(state: Active) -> tuple[str, ...]:
    if state.too_many_failures:
        return ()
    free = state.rules.strategy.parallelism - len(state.active)
    batch_begin = state.begun // state.batch_size * state.batch_size
    if free <= 0 or state.finished_targets < batch_begin:
        return ()
    last = min(batch_begin + state.batch_size, state.begun + free)
    return state.order[state.begun : last]


def conclusion(state: Active) -> RunFinished | None:
    """The run's end, if nothing more is to happen in it."""
    if state.running or (state.active and not state.ending):
        return None
    untouched = len(state.order) - state.finished_targets
    if untouched and not state.ending and not state.too_many_failures:
        return None
    untouched_state: TargetState = "cancelled" if state.ending == "cancelled" else "skipped"
    return RunFinished(_result(state), counts_at_end(state, state.ending or "skipped", untouched_state))


def counts_at_end(state: Active, begun: TargetState, untouched: TargetState) -> Mapping[str, int]:
    """How many targets end in which state when those begun and not done end as `begun`, those never begun as `untouched`."""
    counts = dict(state.done)
    for left, number in ((begun, len(state.active)), (untouched, len(state.order) - state.begun)):
        if number:
            counts[left] = counts.get(left, 0) + number
    return counts


def _result(state: Active) -> RunResult:
    if state.ending:
        return "lost" if state.done.get("lost") else state.ending
    return "succeeded" if state.done.get("succeeded", 0) == len(state.order) else "failed"


def counts_unplanned(state: Requested, left: TargetState) -> Mapping[str, int]:
    """How many targets end in which state when the run ends before it is wholly planned: those of the parts seen so far."""
    return {left: len(state.planned)} if state.planned else {}

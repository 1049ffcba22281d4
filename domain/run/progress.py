"""Which steps may start now? And is the run over?"""

from domain.run.messages import RunFinished, RunResult, StepStart
from domain.run.state import Active


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
    counts = dict(state.done)
    if untouched:
        left = "cancelled" if state.ending == "cancelled" else "skipped"
        counts[left] = counts.get(left, 0) + untouched
    return RunFinished(_result(state), counts)


def _result(state: Active) -> RunResult:
    if state.ending:
        return "lost" if state.done.get("lost") else state.ending
    return "succeeded" if state.done.get("succeeded", 0) == len(state.order) else "failed"

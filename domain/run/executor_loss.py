"""What becomes of a run when the executor that holds it is lost?

A step that was started and has no result is lost on its target, unless it may be repeated. The run then goes on with the first
steps not yet started (`resume`), or is lost with its executor (`lose`).
"""

from collections.abc import Sequence

from domain.run.messages import Event, ExpireClaim, Failure, RunFinished, RunLost, RunResumed, StepFinished
from domain.run.progress import conclusion, counts_at_end, counts_unplanned
from domain.run.state import Active, Requested, fold
from domain.run.step_failure import Consequence, consequence

LOST = Failure("executor_lost", "the executor was lost while the step ran; what became of it on the target is not known")


def expire(command: ExpireClaim, state: Requested | Active) -> Sequence[Event]:
    """The events that end a claim whose executor is lost."""
    if state.rules.on_executor_loss == "lose":
        lost = RunLost(command.executor, command.epoch)
        if isinstance(state, Requested):
            return [lost, RunFinished("lost", counts_unplanned(state, "skipped"))]
        steps = _lost_steps(state, may_repeat=False)
        after = fold(state, steps)
        assert isinstance(after, Active)
        return [*steps, lost, RunFinished("lost", counts_at_end(after, "lost", "skipped"))]
    resumed = RunResumed(command.executor, command.epoch)
    if isinstance(state, Requested):
        return [resumed]
    events: list[Event] = [*_lost_steps(state, may_repeat=True), resumed]
    after = fold(state, events)
    assert isinstance(after, Active)
    end = conclusion(after)
    return [*events, end] if end else events


def _lost_steps(state: Active, may_repeat: bool) -> list[Event]:
    return [_lost_step(state, target, may_repeat) for target in state.running]


def _lost_step(state: Active, target: str, may_repeat: bool) -> StepFinished:
    progress = state.active[target]
    follows = consequence(state.rules, progress, "lost", bool(state.ending)) if may_repeat else Consequence("lost")
    step = state.rules.steps[progress.step].name
    epoch = state.claim.epoch
    return StepFinished(step, target, progress.attempt, epoch, "lost", None, LOST, None, follows.target_state, follows.retry)

"""What follows when a step ends: the next step, another attempt, or the end of its target?"""

from dataclasses import dataclass

from domain.run.messages import Failure, RunRules, StepEndState, StepRule, TargetState
from domain.run.state import Progress

MAX_LOST_ATTEMPTS = 3
"""How often a step that may be repeated is started again after an executor was lost or stopped, beyond its retries."""

NEVER_SENT = Failure("never_sent", "the executor stopped, or lost the run, before anything of the step was sent to its target")
"""Why a step is `unreachable` that was to start and did not: any step may be repeated then, since nothing of it has run."""


@dataclass(frozen=True, slots=True)
class Consequence:
    """`target_state` when the target is done; `retry` when the same step is tried again; neither: the next step."""

    target_state: TargetState | None = None
    retry: bool = False


def consequence(
    rules: RunRules, progress: Progress, ended: StepEndState, ending: bool, error: Failure | None = None
) -> Consequence:
    """What follows from a step's end, and why it came; `ending` says that the run starts nothing any more."""
    rule = rules.steps[progress.step]
    if ended == "cancelled":
        return Consequence("cancelled")
    if ended != "succeeded":
        if not ending and _may_repeat(rule, progress.attempt, ended, error):
            return Consequence(retry=True)
        if rule.on_failure == "stop" or ended in ("unreachable", "lost"):
            return Consequence(ended)
    if progress.step + 1 < len(rules.steps):
        return Consequence()
    if progress.flaw is not None:
        return Consequence(progress.flaw)
    return Consequence(ended)


def _may_repeat(rule: StepRule, attempt: int, ended: StepEndState, error: Failure | None) -> bool:
    if attempt <= rule.max_retries:
        return True
    never_sent = ended == "unreachable" and error is not None and error.code == NEVER_SENT.code
    return (never_sent or (ended == "lost" and rule.idempotent)) and attempt <= rule.max_retries + MAX_LOST_ATTEMPTS

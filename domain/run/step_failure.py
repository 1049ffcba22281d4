"""What follows when a step ends: the next step, another attempt, or the end of its target?"""

from dataclasses import dataclass

from domain.run.messages import RunRules, StepEndState, StepRule, TargetState
from domain.run.state import Progress

MAX_LOST_ATTEMPTS = 3
"""How often a step that may be repeated is started again after an executor was lost, beyond its retries."""


@dataclass(frozen=True, slots=True)
class Consequence:
    """`target_state` when the target is done; `retry` when the same step is tried again; neither: the next step."""

    target_state: TargetState | None = None
    retry: bool = False


def consequence(rules: RunRules, progress: Progress, ended: StepEndState, ending: bool) -> Consequence:
    """What follows from a step's end; `ending` says that the run starts nothing any more."""
    rule = rules.steps[progress.step]
    if ended == "cancelled":
        return Consequence("cancelled")
    if ended != "succeeded":
        if not ending and _may_repeat(rule, progress.attempt, ended):
            return Consequence(retry=True)
        if rule.on_failure == "stop" or ended in ("unreachable", "lost"):
            return Consequence(ended)
    if progress.step + 1 < len(rules.steps):
        return Consequence()
    if progress.flaw is not None:
        return Consequence(progress.flaw)
    return Consequence(ended)


def _may_repeat(rule: StepRule, attempt: int, ended: StepEndState) -> bool:
    if attempt <= rule.max_retries:
        return True
    return ended == "lost" and rule.idempotent and attempt <= rule.max_retries + MAX_LOST_ATTEMPTS

"""Which state is a run in, and how does it get to the next?

The state is a union of stages. An active run remembers only the targets that are begun and not done, so folding an event costs
the same at 10 and at 10,000 targets; a finished run keeps only its result.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar, assert_never

from domain.job.definition import share_of
from domain.run.messages import (
    Event,
    LateReportReceived,
    RunCancelRequested,
    RunClaimed,
    RunFinished,
    RunLost,
    RunPlanned,
    RunRequested,
    RunResult,
    RunResumed,
    RunRules,
    RunStarted,
    RunTimeExceeded,
    StepFinished,
    StepStarted,
    TargetState,
)

FINAL: tuple[RunResult, ...] = ("succeeded", "failed", "cancelled", "timed_out", "lost")

TRANSITIONS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "RunRequested"): ("requested",),
    ("requested", "RunClaimed"): ("requested",),
    ("requested", "RunPlanned"): ("requested", "planned"),
    ("requested", "RunCancelRequested"): ("requested",),
    ("requested", "RunResumed"): ("requested",),
    ("requested", "RunLost"): ("requested",),
    ("requested", "RunFinished"): ("failed", "cancelled", "lost"),
    ("planned", "RunClaimed"): ("planned",),
    ("planned", "RunStarted"): ("running",),
    ("planned", "RunCancelRequested"): ("planned",),
    ("planned", "RunTimeExceeded"): ("planned",),
    ("planned", "RunResumed"): ("planned",),
    ("planned", "RunLost"): ("planned",),
    ("planned", "RunFinished"): ("failed", "cancelled", "timed_out", "lost"),
    ("running", "RunClaimed"): ("running",),
    ("running", "StepStarted"): ("running",),
    ("running", "StepFinished"): ("running",),
    ("running", "RunCancelRequested"): ("running",),
    ("running", "RunTimeExceeded"): ("running",),
    ("running", "RunResumed"): ("running",),
    ("running", "RunLost"): ("running",),
    ("running", "RunFinished"): FINAL,
}
"""(state, event) → the states it may lead to. LateReportReceived changes nothing anywhere and is left out."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who holds the run, under which epoch; `executor` is None while nobody does."""

    epoch: int = 0
    executor: str | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such run yet."""

    stage: Literal["unknown"] = "unknown"


@dataclass(frozen=True, slots=True)
class Requested:
    """Asked for, perhaps claimed, not wholly planned.

    `parts` counts the parts of the plan its holder has handed in; `planned` are the targets of the parts last seen.
    """

    job: str
    job_revision: int
    rules: RunRules
    claim: Claim = Claim()
    parts: int = 0
    planned: tuple[str, ...] = ()
    stage: Literal["requested"] = "requested"


@dataclass(frozen=True, slots=True)
class Progress:
    """A target that is begun and not done: its current step (index), that step's attempt, and whether it is running.

    `flaw` is the state of the first step that failed with `on_failure: continue`.
    """

    step: int = 0
    attempt: int = 1
    running: bool = False
    flaw: TargetState | None = None


@dataclass(frozen=True, slots=True)
class Active:
    """Planned or running. `order` are all targets; the first `begun` of them are begun; `active` are begun and not done."""

    job: str
    job_revision: int
    rules: RunRules
    claim: Claim
    order: tuple[str, ...]
    started: bool = False
    ending: Literal["cancelled", "timed_out"] | None = None
    begun: int = 0
    active: Mapping[str, Progress] = field(default_factory=dict)
    done: Mapping[str, int] = field(default_factory=dict)
    stage: Literal["active"] = "active"

    @property
    def finished_targets(self) -> int:
        """How many targets are done."""
        return sum(self.done.values())

    @property
    def failures(self) -> int:
        """How many targets are done and did not succeed."""
        return self.finished_targets - self.done.get("succeeded", 0)

    @property
    def too_many_failures(self) -> bool:
        """Whether no further target may begin."""
        limit = share_of(self.rules.strategy.max_failures, len(self.order), 0)
        return limit is not None and self.failures > limit

    @property
    def batch_size(self) -> int:
        """How many targets a batch has."""
        return share_of(self.rules.strategy.batch_size, len(self.order), 1) or max(1, len(self.order))

    @property
    def running(self) -> list[str]:
        """The targets on which a step is started and has no result."""
        return [name for name, progress in self.active.items() if progress.running]


@dataclass(frozen=True, slots=True)
class Final:
    """Finished; nothing follows but late reports."""

    state: RunResult
    epoch: int = 0
    stage: Literal["final"] = "final"


RunState = Unknown | Requested | Active | Final

Rare = (
    RunRequested
    | RunClaimed
    | RunPlanned
    | RunStarted
    | RunCancelRequested
    | RunTimeExceeded
    | RunResumed
    | RunLost
    | LateReportReceived
    | RunFinished
)
"""Every event but the steps', which come by the thousand."""

V = TypeVar("V")


def visible(state: RunState) -> str:
    """The state's name as everybody sees it; empty for an unknown run."""
    match state:
        case Unknown():
            return ""
        case Requested():
            return "requested"
        case Active(started=started):
            return "running" if started else "planned"
        case Final(state=result):
            return result
    assert_never(state)


def is_finished(state: RunState) -> bool:
    """Whether nothing but late reports can follow."""
    return isinstance(state, Final)


def fold(state: RunState, events: Iterable[Event]) -> RunState:
    """The state after `events`."""
    folding = Folding(state)
    for event in events:
        folding.take(event)
    return folding.state


class Folding:
    """A state on its way through events. The tables of targets are copied once, at the first event of a step, and then changed
    in place: what `state` was in between must not be kept.
    """

    def __init__(self, state: RunState) -> None:
        self.state = state
        self._ours = False

    def take(self, event: Event) -> None:
        """Go on by one event."""
        if not isinstance(event, (StepStarted, StepFinished)):
            self.state = _evolve(self.state, event)
            return
        state = self.state
        assert isinstance(state, Active)
        if not self._ours:
            state, self._ours = replace(state, active=dict(state.active), done=dict(state.done)), True
        self.state = _step_started(state, event) if isinstance(event, StepStarted) else _step_finished(state, event)


def _evolve(state: RunState, event: Rare) -> RunState:
    match event:
        case RunRequested():
            return Requested(event.job, event.job_revision, event.rules)
        case RunFinished(result):
            return Final(result, state.claim.epoch if isinstance(state, Requested | Active) else 0)
        case LateReportReceived():
            return state
        case RunClaimed() | RunResumed() | RunLost():
            return _claimed(state, event)
        case RunPlanned():
            assert isinstance(state, Requested)
            return _planned(state, event)
        case RunCancelRequested() if isinstance(state, Requested):
            return state
        case _:
            assert isinstance(state, Active)
            return _progressed(state, event)


def _claimed(state: RunState, event: RunClaimed | RunResumed | RunLost) -> RunState:
    assert isinstance(state, Requested | Active)
    if not isinstance(event, RunClaimed):
        return replace(state, claim=Claim(event.epoch))
    claim = Claim(event.epoch, event.executor)
    # a new holder plans anew: parts of two snapshots of the inventory never mix
    return replace(state, claim=claim, parts=0) if isinstance(state, Requested) else replace(state, claim=claim)


def _planned(state: Requested, event: RunPlanned) -> RunState:
    names = tuple(target.name for target in event.targets)
    planned = names if event.part == 1 else state.planned + names
    if event.part < event.parts:
        return replace(state, parts=event.part, planned=planned)
    return Active(state.job, state.job_revision, state.rules, state.claim, planned)


def _progressed(state: Active, event: RunStarted | RunCancelRequested | RunTimeExceeded) -> Active:
    match event:
        case RunStarted():
            return replace(state, started=True)
        case RunCancelRequested():
            return replace(state, ending="cancelled")
        case RunTimeExceeded():
            return replace(state, ending=state.ending or "timed_out")
    assert_never(event)


def _step_started(state: Active, event: StepStarted) -> Active:
    known = state.active.get(event.target)
    at = known or Progress()
    _own(state.active)[event.target] = Progress(at.step, at.attempt, True, at.flaw)
    return state if known else replace(state, begun=state.begun + 1)


def _step_finished(state: Active, event: StepFinished) -> Active:
    active, done = _own(state.active), _own(state.done)
    progress = active.pop(event.target)
    if event.target_state is not None:
        done[event.target_state] = done.get(event.target_state, 0) + 1
    elif event.retry:
        active[event.target] = replace(progress, attempt=progress.attempt + 1, running=False)
    else:
        flaw = progress.flaw if event.state == "succeeded" else progress.flaw or event.state
        active[event.target] = Progress(progress.step + 1, 1, False, flaw)
    return state


def _own(table: Mapping[str, V]) -> dict[str, V]:
    assert isinstance(table, dict), "a folding changes only its own copy"
    return table


def position_of(rules: RunRules, step: str) -> int | None:
    """The index of a step by name, or None."""
    return next((index for index, rule in enumerate(rules.steps) if rule.name == step), None)

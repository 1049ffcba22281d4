"""What can be said to a run and what can happen to it? Commands, then events.

Event names and fields are stored for ever: they may be added to with a new schema version and an upcaster, never changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from domain.job.definition import Strategy
from domain.job.parameters import Value
from domain.target import SshConnection

StepEndState = Literal["succeeded", "failed", "timed_out", "cancelled", "lost", "unreachable"]
TargetState = Literal["succeeded", "failed", "skipped", "timed_out", "cancelled", "lost", "unreachable"]
RunResult = Literal["succeeded", "failed", "cancelled", "timed_out", "lost"]


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong: a stable code and a message for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class StepRule:
    """What a run's rules need to know of a step; its script stands in the job's revision."""

    name: str
    idempotent: bool = False
    max_retries: int = 0
    backoff_s: float = 0
    on_failure: Literal["stop", "continue"] = "stop"


@dataclass(frozen=True, slots=True)
class RunRules:
    """The rules a run keeps, pinned when it was requested."""

    steps: tuple[StepRule, ...]
    strategy: Strategy
    timeout_s: float
    on_executor_loss: Literal["resume", "lose"]


@dataclass(frozen=True, slots=True)
class PlannedTarget:
    """A target as the plan saw it: at which version of its stream, and everything needed to reach it."""

    name: str
    version: int
    host: str
    labels: Mapping[str, str]
    connection: SshConnection


@dataclass(frozen=True, slots=True)
class StepStart:
    """An executor's intent to start a step on a target; attempts count from 1."""

    step: str
    target: str
    attempt: int
    kind: Literal["start"] = "start"


@dataclass(frozen=True, slots=True)
class StepEnd:
    """What became of a started step. `output_end` is the offset in `run-output` after its last chunk, if it wrote any."""

    step: str
    target: str
    attempt: int
    state: StepEndState
    exit_code: int | None = None
    error: Failure | None = None
    output_end: int | None = None
    kind: Literal["end"] = "end"


Entry = StepStart | StepEnd


# --- commands -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestRun:
    """Run a job. `job_revision` is the one its parameters were checked and sealed for; `targets` narrows the job's selector."""

    job: str
    job_revision: int
    parameters: Mapping[str, Value]
    targets: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ClaimRun:
    """Take an unclaimed run; `epoch` is one more than the last claim's."""

    executor: str
    epoch: int


@dataclass(frozen=True, slots=True)
class PlanRun:
    """Part `part` of `parts` of the plan, in order, from 1; targets sorted by name over all parts."""

    executor: str
    epoch: int
    part: int
    parts: int
    targets: tuple[PlannedTarget, ...]


@dataclass(frozen=True, slots=True)
class FailRun:
    """The holder cannot plan or begin the run at all."""

    executor: str
    epoch: int
    error: Failure


@dataclass(frozen=True, slots=True)
class ReportRun:
    """What the holder intends to start and what has ended since its last report; `timed_out`: the run is over its time."""

    executor: str
    epoch: int
    entries: tuple[Entry, ...] = ()
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class CancelRun:
    """End a run early."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class SupersedeRun:
    """End a run early because the later run `by` of the same job replaces it."""

    by: str


@dataclass(frozen=True, slots=True)
class ExpireClaim:
    """The executor that holds the run under this epoch has been silent for a lease time."""

    executor: str
    epoch: int


@dataclass(frozen=True, slots=True)
class RecordLateReport:
    """What an executor that has lost the run still has to say; it changes nothing but is kept."""

    executor: str
    epoch: int
    entries: tuple[StepEnd, ...]


Command = RequestRun | ClaimRun | PlanRun | FailRun | ReportRun | CancelRun | SupersedeRun | ExpireClaim | RecordLateReport


# --- events ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunRequested:
    """Somebody wants a job run, with these values, on the targets that match `targets` when it is planned.

    The run begins once every run in `waits_for` has finished; with `replaces` those are cancelled for it.
    """

    job: str
    job_revision: int
    parameters: Mapping[str, Value]
    targets: str
    reason: str
    rules: RunRules
    waits_for: tuple[str, ...] = ()
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class RunClaimed:
    """An executor holds the run from now on, under this epoch."""

    executor: str
    epoch: int


@dataclass(frozen=True, slots=True)
class RunPlanned:
    """Part of the plan: the exact revision of every target it saw. The run is planned with its last part."""

    part: int
    parts: int
    job_revision: int
    steps: tuple[str, ...]
    targets: tuple[PlannedTarget, ...]


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The first step is about to start."""


@dataclass(frozen=True, slots=True)
class StepStarted:
    """The intent to start a step on a target is accepted: it may start now, once, under this attempt."""

    step: str
    target: str
    attempt: int
    epoch: int


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step ended on a target. `target_state` is set when the target is done with it; `retry` when it will be tried again."""

    step: str
    target: str
    attempt: int
    epoch: int
    state: StepEndState
    exit_code: int | None
    error: Failure | None
    output_end: int | None
    target_state: TargetState | None
    retry: bool


@dataclass(frozen=True, slots=True)
class RunCancelRequested:
    """Somebody wants the run ended early; no step starts any more."""

    reason: str


@dataclass(frozen=True, slots=True)
class RunTimeExceeded:
    """The run is over its time; no step starts any more."""


@dataclass(frozen=True, slots=True)
class RunResumed:
    """The executor that held the run under this epoch is lost; the run goes on with the next one that claims it."""

    executor: str
    epoch: int


@dataclass(frozen=True, slots=True)
class RunLost:
    """The executor that held the run under this epoch is lost and the job says the run is lost with it."""

    executor: str
    epoch: int


@dataclass(frozen=True, slots=True)
class LateReportReceived:
    """An executor that no longer held the run reported what its steps had come to; it changes nothing."""

    executor: str
    epoch: int
    entries: tuple[StepEnd, ...]


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run ended. `targets` counts targets by their final state."""

    state: RunResult
    targets: Mapping[str, int]
    error: Failure | None = None


Event = (
    RunRequested
    | RunClaimed
    | RunPlanned
    | RunStarted
    | StepStarted
    | StepFinished
    | RunCancelRequested
    | RunTimeExceeded
    | RunResumed
    | RunLost
    | LateReportReceived
    | RunFinished
)

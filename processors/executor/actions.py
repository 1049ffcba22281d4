"""What happens to an executor, and what does it do about it? The inputs and the actions of its core."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.run.messages import Failure, PlannedTarget, RunRequested, StepEnd, StepStart
from domain.target import RecordTargetCheck
from processors.executor.inventory import UnfinishedRun
from schemas.command_envelope import CommandEnvelope
from schemas.event_envelope import EventEnvelope
from schemas.outcome import Accepted, Rejected

# --- inputs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """An event of a run or a target; events may come twice, late or not at all."""

    event: EventEnvelope


@dataclass(frozen=True, slots=True)
class Swept:
    """What the read models list as unfinished right now: it repairs whatever was not seen."""

    runs: Sequence[UnfinishedRun]
    checks: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class HistoryRead:
    """A run's events as far as they are projected, or None when the read model could not be asked."""

    run: str
    events: Sequence[EventEnvelope] | None


@dataclass(frozen=True, slots=True)
class Answered:
    """The result of a run's command."""

    run: str
    command_id: UUID
    result: Accepted | Rejected


@dataclass(frozen=True, slots=True)
class TargetsFound:
    """What a run's selector means, from one snapshot, sorted by name."""

    run: str
    epoch: int
    targets: Sequence[PlannedTarget]


@dataclass(frozen=True, slots=True)
class PlanFailed:
    """The run cannot be planned or begun at all."""

    run: str
    epoch: int
    error: Failure


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step ended on a target, and its output is published."""

    run: str
    epoch: int
    end: StepEnd


@dataclass(frozen=True, slots=True)
class StepHeldBack:
    """A step was not started: it was to be ended before, or the confirmation that we hold its run was over a lease old."""

    run: str
    epoch: int
    start: StepStart


@dataclass(frozen=True, slots=True)
class WaitedForFinal:
    """Every run that `run` waits for is final."""

    run: str


@dataclass(frozen=True, slots=True)
class CheckDone:
    """A target check has its result; `requested` is the event that asked for it."""

    target: str
    requested: EventEnvelope
    result: RecordTargetCheck


@dataclass(frozen=True, slots=True)
class CheckAbandoned:
    """A target check could not be tried; the next sweep brings it again."""

    target: str
    check: str


@dataclass(frozen=True, slots=True)
class Woke:
    """The time asked for has come."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """Claim and start nothing more."""


@dataclass(frozen=True, slots=True)
class GraceOver:
    """Steps that still run are killed now; what they come to is reported as lost."""


Input = (
    Seen
    | Swept
    | HistoryRead
    | Answered
    | TargetsFound
    | PlanFailed
    | StepDone
    | StepHeldBack
    | WaitedForFinal
    | CheckDone
    | CheckAbandoned
    | Woke
    | Stopping
    | GraceOver
)


# --- actions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Deliver a command. With `run`, its result comes back as `Answered`."""

    command: CommandEnvelope
    run: str | None = None


@dataclass(frozen=True, slots=True)
class ReadHistory:
    """Read all events of a run from the read model."""

    run: str


@dataclass(frozen=True, slots=True)
class FindTargets:
    """Look up the job's revision, try its secrets and find the targets: `TargetsFound` or `PlanFailed` comes back."""

    run: str
    epoch: int
    request: RunRequested


@dataclass(frozen=True, slots=True)
class StartStep:
    """Start a step whose intent is accepted, at the latest at monotonic second `valid_until`; else `StepHeldBack` comes back."""

    run: str
    epoch: int
    start: StepStart
    step_index: int
    target: PlannedTarget
    request: RunRequested
    valid_until: float


@dataclass(frozen=True, slots=True)
class KillSteps:
    """End every step of the run that is running here."""

    run: str


@dataclass(frozen=True, slots=True)
class AskFinal:
    """Ask whether all these runs are final: `WaitedForFinal` comes back if so."""

    run: str
    waits_for: Sequence[str]


@dataclass(frozen=True, slots=True)
class CheckTarget:
    """Connect and log in to a target; `requested` is the event that asked, if it was seen."""

    target: str
    check: str
    requested: EventEnvelope | None


@dataclass(frozen=True, slots=True)
class ForgetRun:
    """The run is no business of this executor any more."""

    run: str


Action = Send | ReadHistory | FindTargets | StartStep | KillSteps | AskFinal | CheckTarget | ForgetRun

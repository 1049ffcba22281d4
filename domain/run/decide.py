"""What may be done with a run?"""

from collections.abc import Sequence
from typing import assert_never

from domain.decider import Companion, Decider
from domain.identity import JOB, stream_of
from domain.job.decide import JobState, must_be_open
from domain.job.definition import JobDefinition
from domain.job.parameters import resolve
from domain.rejection import Absent, Conflict, FieldError, Invalid, Stale
from domain.run.executor_loss import expire
from domain.run.messages import (
    CancelRun,
    ClaimRun,
    Command,
    Entry,
    Event,
    ExpireClaim,
    FailRun,
    Failure,
    LateReportReceived,
    PlanRun,
    RecordLateReport,
    ReportRun,
    RequestRun,
    RunCancelRequested,
    RunClaimed,
    RunFinished,
    RunPlanned,
    RunRequested,
    RunRules,
    RunStarted,
    RunTimeExceeded,
    StepEnd,
    StepFinished,
    StepRule,
    StepStart,
    StepStarted,
    SupersedeRun,
)
from domain.run.progress import conclusion, counts_unplanned, may_begin
from domain.run.state import Active, Claim, Final, Folding, Requested, RunState, Unknown, fold, is_finished, position_of
from domain.run.step_failure import consequence
from domain.selector import parse_selector

MAX_REASON = 2_000
MAX_WAITING = 1_000
"""How many unfinished runs a run may wait for: their ids stand in its first event."""
NO_TARGETS = Failure("no_targets", "no target in service matches the run's selector")


def decide(command: Command, state: RunState, companion: Companion | None = None) -> Sequence[Event]:
    """The events that `command` causes in `state`, or a rejection."""
    if isinstance(command, RequestRun):
        return _request(command, state, companion)
    if isinstance(state, Unknown):
        raise Absent("run_not_found", "there is no such run")
    if isinstance(command, RecordLateReport):
        return _record_late(command, state)
    if isinstance(state, Final):
        raise Conflict("run_finished", f"the run is finished: {state.state}")
    match command:
        case ClaimRun():
            return _claim(command, state)
        case CancelRun():
            return _cancel(command, state)
        case SupersedeRun(by=by):
            return _cancel(CancelRun(f"replaced by run {by}"), state)
        case PlanRun() | FailRun() | ReportRun() | ExpireClaim():
            _must_hold(command.executor, command.epoch, state)
            return _by_holder(command, state)
    assert_never(command)


def _by_holder(command: PlanRun | FailRun | ReportRun | ExpireClaim, state: Requested | Active) -> Sequence[Event]:
    match command:
        case PlanRun():
            return _plan(command, state)
        case FailRun(error=error):
            if isinstance(state, Active):
                raise Conflict("run_planned", "the run is planned; its steps say what fails")
            return [RunFinished("failed", counts_unplanned(state, "skipped"), error)]
        case ReportRun():
            return _report(command, state)
        case ExpireClaim():
            return expire(command, state)
    assert_never(command)


def _must_hold(executor: str, epoch: int, state: Requested | Active) -> None:
    if (state.claim.executor, state.claim.epoch) != (executor, epoch):
        raise Stale("stale_epoch", f"the run is at epoch {state.claim.epoch}, not held by {executor} under {epoch}")


# --- request --------------------------------------------------------------------------------------------------------


def _request(command: RequestRun, state: RunState, companion: Companion | None) -> Sequence[Event]:
    if not isinstance(state, Unknown):
        raise Conflict("run_exists", "there is such a run already")
    job_state: JobState = companion.state if companion else JobState()
    job = must_be_open(job_state)
    if command.job_revision != job_state.revision:
        raise Stale("job_revised_meanwhile", f"the job is at revision {job_state.revision}")
    if len(command.reason) > MAX_REASON:
        raise Invalid(FieldError("reason", f"is longer than {MAX_REASON} characters"))
    unfinished = companion.unfinished if companion else ()
    waits_for, replaces = _overlap(job, unfinished)
    return [
        RunRequested(
            job=command.job,
            job_revision=command.job_revision,
            parameters=resolve(job.parameters, command.parameters),
            targets=_narrowed(job.targets, command.targets),
            reason=command.reason,
            rules=_rules(job),
            waits_for=waits_for,
            replaces=replaces,
        )
    ]


def _narrowed(job_targets: str, override: str | None) -> str:
    if override is None:
        return job_targets
    parse_selector(override, "targets")
    narrowed = f"{job_targets},{override}"
    parse_selector(narrowed, "targets")  # both together must be one selector: the plan reads it as such
    return narrowed


def _overlap(job: JobDefinition, unfinished: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    match job.concurrency:
        case "allow":
            return (), False
        case "forbid":
            if unfinished:
                raise Conflict("job_is_running", "the job forbids overlapping runs and one of them is not finished")
            return (), False
        case "queue" | "replace":
            if len(unfinished) >= MAX_WAITING:
                raise Conflict("too_many_runs_waiting", f"{len(unfinished)} runs of the job are not finished")
            return unfinished, job.concurrency == "replace" and bool(unfinished)
    assert_never(job.concurrency)


def _rules(job: JobDefinition) -> RunRules:
    steps = tuple(
        StepRule(step.name, step.idempotent, step.retries.max, step.retries.backoff_s, step.on_failure) for step in job.steps
    )
    return RunRules(steps, job.strategy, job.timeout_s, job.on_executor_loss)


# --- claim and plan -------------------------------------------------------------------------------------------------


def _claim(command: ClaimRun, state: Requested | Active) -> Sequence[Event]:
    if state.claim.executor is not None:
        raise Stale("run_claimed", f"the run is held by {state.claim.executor}")
    if command.epoch != state.claim.epoch + 1:
        raise Stale("stale_epoch", f"the run is at epoch {state.claim.epoch}")
    return [RunClaimed(command.executor, command.epoch)]


def _plan(command: PlanRun, state: Requested | Active) -> Sequence[Event]:
    if isinstance(state, Active):
        raise Conflict("run_planned", "the run is planned already")
    if command.part not in (1, state.parts + 1) or not 1 <= command.part <= command.parts:
        raise Conflict("plan_out_of_order", f"part {state.parts + 1} of the plan is due")
    names = [target.name for target in command.targets] + list(state.planned if command.part > 1 else ())
    if len(set(names)) != len(names):
        raise Conflict("plan_repeats_target", "a target stands in the plan more than once")
    steps = tuple(rule.name for rule in state.rules.steps)
    planned = RunPlanned(command.part, command.parts, state.job_revision, steps, command.targets)
    after = fold(state, [planned])
    if isinstance(after, Active) and not after.order:
        return [planned, RunFinished("failed", {}, NO_TARGETS)]
    return [planned]


# --- report ---------------------------------------------------------------------------------------------------------


def _report(command: ReportRun, state: Requested | Active) -> Sequence[Event]:
    if isinstance(state, Requested):
        raise Conflict("run_not_planned", "the run is not planned yet")
    if state.ending and any(isinstance(entry, StepStart) for entry in command.entries):
        raise Conflict("run_is_ending", f"the run is being ended ({state.ending}); no step starts any more")
    folding = Folding(state)
    events: list[Event] = []

    def happened(event: Event) -> None:
        events.append(event)
        folding.take(event)

    for entry in command.entries:
        for event in _entry(entry, _active(folding.state)):
            happened(event)
    if command.timed_out and not state.ending:
        happened(RunTimeExceeded())
    end = conclusion(_active(folding.state))
    return [*events, end] if end else events


def _active(state: RunState) -> Active:
    assert isinstance(state, Active)
    return state


def _entry(entry: Entry, state: Active) -> list[Event]:
    return _start(entry, state) if isinstance(entry, StepStart) else [_end(entry, state)]


def _start(entry: StepStart, state: Active) -> list[Event]:
    progress = state.active.get(entry.target)
    index = position_of(state.rules, entry.step)
    fits = (
        (index, entry.attempt, False) == (progress.step, progress.attempt, progress.running)
        if progress
        else (index, entry.attempt) == (0, 1) and may_begin(state, entry.target)
    )
    if not fits:
        raise Conflict("step_not_startable", f"step {entry.step} cannot start on {entry.target} as attempt {entry.attempt} now")
    started = StepStarted(entry.step, entry.target, entry.attempt, state.claim.epoch)
    return [started] if state.started else [RunStarted(), started]


def _end(entry: StepEnd, state: Active) -> StepFinished:
    progress = state.active.get(entry.target)
    index = position_of(state.rules, entry.step)
    if not progress or (index, entry.attempt, True) != (progress.step, progress.attempt, progress.running):
        raise Conflict("step_not_running", f"attempt {entry.attempt} of step {entry.step} is not running on {entry.target}")
    follows = consequence(state.rules, progress, entry.state, bool(state.ending), entry.error)
    return StepFinished(
        step=entry.step,
        target=entry.target,
        attempt=entry.attempt,
        epoch=state.claim.epoch,
        state=entry.state,
        exit_code=entry.exit_code,
        error=entry.error,
        output_end=entry.output_end,
        target_state=follows.target_state,
        retry=follows.retry,
    )


def _record_late(command: RecordLateReport, state: Requested | Active | Final) -> Sequence[Event]:
    claim = Claim(state.epoch) if isinstance(state, Final) else state.claim
    if (claim.executor, claim.epoch) == (command.executor, command.epoch):
        raise Conflict("report_not_late", "the executor holds the run; it reports in the ordinary way")
    if command.epoch > claim.epoch or (command.epoch == claim.epoch and claim.executor is not None):
        raise Stale("stale_epoch", f"{command.executor} never held the run under epoch {command.epoch}")
    return [LateReportReceived(command.executor, command.epoch, command.entries)] if command.entries else []


# --- cancel ---------------------------------------------------------------------------------------------------------


def _cancel(command: CancelRun, state: Requested | Active) -> Sequence[Event]:
    if len(command.reason) > MAX_REASON:
        raise Invalid(FieldError("reason", f"is longer than {MAX_REASON} characters"))
    asked = RunCancelRequested(command.reason)
    if isinstance(state, Requested):
        return [asked, RunFinished("cancelled", counts_unplanned(state, "cancelled"))]
    if state.ending == "cancelled":
        return []
    end = conclusion(_active(fold(state, [asked])))
    return [asked, end] if end else [asked]


def _companion(command: Command) -> str | None:
    return stream_of(JOB, command.job) if isinstance(command, RequestRun) else None


DECIDER: Decider[Command, RunState, Event] = Decider(Unknown(), decide, fold, _companion, is_finished)

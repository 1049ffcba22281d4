"""Do runs keep what their jobs and their executors' claims allow? By the log alone; nothing of the domain's rules is asked.

Invariants of `tests.support.checker`, each from the evidence to the sentences that say what breaks it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from domain.identity import JOB, RUN, job_of, kind_of, name_of
from domain.job.decide import JobDefined, JobRevised
from domain.job.definition import CommandStep, JobDefinition, ScriptStep
from domain.run.messages import (
    RunClaimed,
    RunFinished,
    RunLost,
    RunRequested,
    RunResumed,
    StepFinished,
    StepStarted,
)
from schemas.event_envelope import RecordedEvent
from schemas.event_types import event_of
from schemas.outcome import Rejected
from tests.support.asked import first_commands
from tests.support.evidence import Broken, Evidence, run_events

LOST_AGAIN = 3
"""How often an idempotent step is started again after its executor was lost, and any whose executor stopped before anything of
it was sent, beyond its retries."""


def _definitions(evidence: Evidence) -> Mapping[tuple[str, int], JobDefinition]:
    found = {}
    for recorded in evidence.events:
        if kind_of(recorded.event.stream) == JOB:
            event = event_of(recorded.event)
            if isinstance(event, JobDefined | JobRevised):
                found[name_of(recorded.event.stream), event.revision] = event.definition
    return found


# --- attempts ---------------------------------------------------------------------------------------------------------


def attempts_are_as_the_job_says(evidence: Evidence) -> Broken:
    """A step is tried again only when it failed and has retries left, was lost and is idempotent, or was never sent; never after
    a success."""
    definitions = _definitions(evidence)
    steps: dict[str, Mapping[str, CommandStep | ScriptStep]] = {}
    ends: dict[tuple[str, str, str, int], StepFinished] = {}
    for run, position, event in run_events(evidence):
        match event:
            case RunRequested():
                definition = definitions.get((event.job, event.job_revision))
                steps[run] = {step.name: step for step in definition.steps} if definition else {}
            case StepFinished():
                ends[run, event.step, event.target, event.attempt] = event
            case StepStarted() if event.attempt > 1:
                before = ends.get((run, event.step, event.target, event.attempt - 1))
                step = steps.get(run, {}).get(event.step)
                if step and not _may_follow(before, step, event.attempt):
                    yield f"{position}: attempt {event.attempt} of {event.step} of {run} on {event.target} follows {before}"


def _may_follow(before: StepFinished | None, step: CommandStep | ScriptStep, attempt: int) -> bool:
    if before is None or before.state in ("succeeded", "cancelled"):
        return False
    never_sent = before.state == "unreachable" and before.error is not None and before.error.code == "never_sent"
    most = step.retries.max + (LOST_AGAIN if never_sent or (before.state == "lost" and step.idempotent) else 0)
    return attempt <= most + 1


# --- overlaps ---------------------------------------------------------------------------------------------------------


def overlaps_are_as_the_job_says(evidence: Evidence) -> Broken:
    """`forbid`: none is requested beside an unfinished one, and none refused for one that is not there. `queue`, `replace`: each
    waits for exactly those that are unfinished when it is requested, and nobody claims it before all of them have ended.
    """
    definitions = _definitions(evidence)
    unfinished: dict[str, list[str]] = defaultdict(list)
    waits: dict[str, Sequence[str]] = {}
    for run, position, event in run_events(evidence):
        match event:
            case RunRequested():
                definition = definitions.get((event.job, event.job_revision))
                waits[run], beside = event.waits_for, unfinished[event.job]
                if definition and not _fits(definition.concurrency, event, beside):
                    yield (
                        f"{position}: {run} of a job that says {definition.concurrency} was requested beside {beside}: "
                        f"it waits for {event.waits_for}, replaces: {event.replaces}"
                    )
                beside.append(run)
            case RunClaimed():
                early = [other for other in waits.get(run, ()) if other in unfinished[job_of(run)]]
                if early:
                    yield f"{position}: {run} was claimed before {early}, for which it waits, had ended"
            case RunFinished() if run in unfinished[job_of(run)]:
                unfinished[job_of(run)].remove(run)
    yield from _refused_for_nothing(evidence)


def _fits(policy: str, event: RunRequested, beside: Sequence[str]) -> bool:
    asked = (list(event.waits_for), event.replaces)
    if policy in ("queue", "replace"):
        return asked == (list(beside), policy == "replace" and bool(beside))
    return asked == ([], False) and not (policy == "forbid" and beside)


def _refused_for_nothing(evidence: Evidence) -> Broken:
    """In the order of the outcomes, which is that of the decisions."""
    by_id = {recorded.event.event_id: recorded.event for recorded in evidence.events}
    unfinished: dict[str, set[str]] = defaultdict(set)
    seen = set[UUID]()
    for outcome in evidence.outcomes:
        if kind_of(outcome.stream) != RUN or outcome.command_id in seen:
            continue
        seen.add(outcome.command_id)
        beside = unfinished[job_of(name_of(outcome.stream))]
        if isinstance(outcome.result, Rejected):
            if outcome.result.code == "job_is_running" and not beside:
                yield f"{outcome.stream} was refused for a run that is not finished, and there is none"
            continue
        for event_id in outcome.result.event_ids:
            kind = by_id[event_id].type if event_id in by_id else ""
            if kind == RunRequested.__name__:
                beside.add(outcome.stream)
            elif kind == RunFinished.__name__:
                beside.discard(outcome.stream)


# --- claims -----------------------------------------------------------------------------------------------------------


class Held(NamedTuple):
    """Who holds a run under which epoch; nobody when there is no executor."""

    executor: str | None
    epoch: int


HOLDERS = ("PlanRun", "FailRun", "ReportRun", "ExpireClaim")
"""What only the claim in force can do, or end."""


def only_the_holder_changes_a_run(evidence: Evidence) -> Broken:
    """A run is claimed when nobody holds it, under the next epoch; only who holds it plans, reports and is expired, under that
    epoch; a late report is of somebody who does not hold it.
    """
    commands = first_commands(evidence)
    held: dict[str, Held] = defaultdict(lambda: Held(None, 0))
    judged = set[UUID]()
    for recorded in evidence.events:
        if kind_of(recorded.event.stream) != RUN:
            continue
        run, event = name_of(recorded.event.stream), event_of(recorded.event)
        command = commands.get(recorded.event.command_id)
        if command is not None and command.command_id not in judged:
            judged.add(command.command_id)
            yield from _by_command(command.type, command.payload, held[run], recorded)
        yield from _by_event(event, held[run], recorded)
        match event:
            case RunClaimed(executor, epoch):
                held[run] = Held(executor, epoch)
            case RunResumed() | RunLost() | RunFinished():
                held[run] = Held(None, held[run].epoch)


def _by_command(kind: str, payload: bytes, now: Held, recorded: RecordedEvent) -> Broken:
    if kind not in (*HOLDERS, "RecordLateReport"):
        return
    said = orjson.loads(payload)
    by = Held(said["executor"], said["epoch"])
    if (by == now) != (kind in HOLDERS):
        yield f"{recorded.position}: {kind} by {by} changed {recorded.event.stream}, held by {now}"


def _by_event(event: Any, now: Held, recorded: RecordedEvent) -> Broken:
    if isinstance(event, RunClaimed) and (now.executor is not None or event.epoch != now.epoch + 1):
        yield f"{recorded.position}: {event.executor} claimed {recorded.event.stream} under {event.epoch}, held by {now}"
    if isinstance(event, StepStarted | StepFinished) and (now.executor is None or event.epoch != now.epoch):
        yield f"{recorded.position}: {recorded.event.type} of {recorded.event.stream} says epoch {event.epoch}, held by {now}"

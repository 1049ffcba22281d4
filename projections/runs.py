"""Which runs are there, in which state, and how far is each?"""

from collections.abc import Iterable, Mapping
from typing import Any

from domain.identity import job_of, name_of
from domain.job.parameters import Value
from domain.run.messages import (
    Failure,
    LateReportReceived,
    RunCancelRequested,
    RunClaimed,
    RunFinished,
    RunLost,
    RunPlanned,
    RunRequested,
    RunResumed,
    RunStarted,
    RunTimeExceeded,
    StepFinished,
    StepStarted,
)
from domain.run.why_ended import why_ended
from projections.bulk import Key, Row
from projections.fact import Fact
from projections.own_rows import OwnRows
from projections.plain import plain
from projections.projection import Projection, RowPerStream
from projections.tables import runs, stored_time
from projections.who import person_of
from schemas.event_envelope import EventEnvelope


def _own(fact: Fact) -> Iterable[Key]:
    return [(name_of(fact.envelope.stream),)]


def _fold(own: OwnRows, fact: Fact) -> None:
    run, event = name_of(fact.envelope.stream), fact.event
    if isinstance(event, RunRequested):
        row = _requested(run, event, fact.envelope)
    else:
        before = own.get(run) or {}
        row = {**before, **_changes(before, event, fact.envelope)}
    own.put({**row, "version": fact.envelope.version, "offset": fact.position.offset})


def _requested(run: str, event: RunRequested, envelope: EventEnvelope) -> Row:
    return {
        "id": run,
        "job": job_of(run),
        "revision": event.job_revision,
        "state": "requested",
        "ending": None,
        "requested_by": person_of(envelope),
        "reason": event.reason,
        "cancelled_by": None,
        "cancel_reason": None,
        "parameters": plain(Mapping[str, Value], event.parameters),
        "selector": event.targets,
        "waits_for": list(event.waits_for),
        "replaces": event.replaces,
        "total": 0,
        "counts": {},
        "error": None,
        "executor": None,
        "epoch": 0,
        "correlation_id": envelope.correlation_id,
        "requested_at": stored_time(envelope.time),
        "started_at": None,
        "finished_at": None,
        "output_end": 0,
    }


def _changes(row: Row, event: Any, envelope: EventEnvelope) -> dict[str, Any]:
    match event:
        case RunPlanned() | RunStarted() | RunFinished():
            return _advanced(row, event, stored_time(envelope.time))
        case RunClaimed(executor, epoch):
            return {"executor": executor, "epoch": epoch}
        case RunResumed() | RunLost():
            return {"executor": None, "epoch": event.epoch}
        case RunCancelRequested(reason):
            return {"ending": "cancelled", "cancelled_by": person_of(envelope), "cancel_reason": reason}
        case RunTimeExceeded():
            return {"ending": row["ending"] or "timed_out"}
        case StepFinished():
            return _step_finished(row, event)
        case StepStarted() | LateReportReceived():
            return {}
    raise TypeError(f"{type(event).__name__} is no event of a run")


def _advanced(row: Row, event: RunPlanned | RunStarted | RunFinished, time: str) -> dict[str, Any]:
    match event:
        case RunPlanned(part=part, parts=parts, targets=targets):
            total = len(targets) + (0 if part == 1 else row["total"])
            return {"total": total, "state": "planned" if part == parts else row["state"]}
        case RunStarted():
            return {"state": "running", "started_at": time}
        case RunFinished(state, targets):
            why = why_ended(event, row["ending"], row["cancelled_by"])
            failure = plain(Failure, why) if why else None
            return {"state": state, "counts": dict(targets), "error": failure, "finished_at": time}


def _step_finished(row: Row, event: StepFinished) -> dict[str, Any]:
    counts = dict(row["counts"])
    if event.target_state is not None:
        counts[event.target_state] = counts.get(event.target_state, 0) + 1
    return {"counts": counts, "output_end": max(row["output_end"], event.output_end or 0)}


RUNS = Projection("runs", ("runs",), (RowPerStream(runs, _own, _fold),), revision=3)

"""Which rows must the read models have after these records of the log? All tables, all columns, and no code of the projections.

A stream's rows are said of all its events at once, by the domain's own fold where that remembers enough. It is slow and plain on
purpose: what the projections do event by event, in batches and with statements of their own is held against it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from domain.access import Limits
from domain.credential import CredentialCreated, CredentialRotated
from domain.identity import CREDENTIAL, JOB, ROLE, RUN, TARGET, USER, job_of, kind_of, name_of
from domain.job.decide import JobDefined, JobRevised
from domain.role import RoleRemoved
from domain.run.messages import (
    RunCancelRequested,
    RunFinished,
    RunLost,
    RunPlanned,
    RunRequested,
    RunStarted,
    RunTimeExceeded,
    StepFinished,
    StepStarted,
)
from domain.run.state import Active, Requested, visible
from domain.target import TargetChecked
from domain.user.messages import IdentityLinked, SignedIn, TokenIssued, UserLinked
from schemas.event_envelope import EventEnvelope, RecordedEvent
from schemas.event_types import event_of
from schemas.payload import to_json
from schemas.position import Position
from schemas.run_output import OutputChunk
from tests.support.shown import SHOWN, folded

Row = Mapping[str, Any]
Key = tuple[Any, ...]

KEYS: Mapping[str, tuple[str, ...]] = {
    "targets": ("name",),
    "target_labels": ("target", "key"),
    "credentials": ("name",),
    "users": ("name",),
    "roles": ("name",),
    "jobs": ("name",),
    "job_revisions": ("job", "revision"),
    "job_results": ("job", "state"),
    "runs": ("id",),
    "run_steps": ("run", "target", "step_index", "attempt"),
    "run_output": ("run", "target", "step_index", "attempt", "sequence"),
    "events": ("event_id",),
}
"""Every table, and the columns of its key; the first of them names whose row it is."""


@dataclass(frozen=True, slots=True)
class Expected:
    """By table the rows under their keys, and whose rows nothing can be said of: the events of `unsaid` do not fit together."""

    rows: Mapping[str, Mapping[Key, Row]]
    unsaid: frozenset[tuple[str, str]]


@dataclass(slots=True)
class _Stream:
    """A stream's events in their order, as recorded and as the domain knows them."""

    name: str
    recorded: list[RecordedEvent] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)

    def timed(self, *kinds: type[Any]) -> list[tuple[str, Any]]:
        """The events of these kinds, each with its time."""
        pairs = zip(self.recorded, self.events, strict=True)
        return [(_time(recorded.event.time), event) for recorded, event in pairs if isinstance(event, kinds)]

    def last(self, *kinds: type[Any]) -> Any:
        """The last event of these kinds; None: there is none."""
        return next((event for event in reversed(self.events) if isinstance(event, kinds)), None)

    def kept(self) -> Row:
        """What the rows of most tables say of their stream."""
        first, last = self.recorded[0], self.recorded[-1]
        times = {"created_at": _time(first.event.time), "updated_at": _time(last.event.time)}
        return {**times, "version": len(self.events), "offset": last.position.offset}


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _time_of(timed: Sequence[tuple[str, Any]]) -> str | None:
    """When the last of these happened."""
    return timed[-1][0] if timed else None


def _plain(value: Any) -> Any:
    """As JSON holds it."""
    return orjson.loads(to_json(value))


def _person(event: EventEnvelope) -> str:
    return (event.on_behalf_of or event.actor).name


Rows = Iterator[tuple[str, Row]]

# --- what people define -----------------------------------------------------------------------------------------------


def _of_target(stream: _Stream) -> Rows:
    state = folded(TARGET, stream.events)
    checks = stream.timed(TargetChecked)
    more = {
        "name": stream.name,
        "connection": asdict(state.connection),
        "credential": state.connection.credential,
        "reachable": state.reachable,
        "open_checks": list(state.open_checks),
        "last_check": {**_plain(checks[-1][1]), "time": checks[-1][0]} if checks else None,
    }
    yield "targets", {**stream.kept(), **SHOWN[TARGET](state), **more}
    for key, value in state.labels.items():
        yield "target_labels", {"target": stream.name, "key": key, "value": value}


def _of_job(stream: _Stream) -> Rows:
    state = folded(JOB, stream.events)
    said = {"revision": state.revision, "archived": state.archived, "definition": _plain(state.definition)}
    yield "jobs", {**stream.kept(), "name": stream.name, **said}
    for version, (recorded, event) in enumerate(zip(stream.recorded, stream.events, strict=True), start=1):
        if isinstance(event, JobDefined | JobRevised):
            row = {"job": stream.name, "revision": event.revision, "definition": _plain(event.definition), "version": version}
            yield "job_revisions", {**row, "author": _person(recorded.event), "time": _time(recorded.event.time)}


def _of_credential(stream: _Stream) -> Rows:
    state = folded(CREDENTIAL, stream.events)
    named = {"name": stream.name, "title": stream.last(CredentialCreated).title, "kind": state.kind}
    secret = stream.last(CredentialCreated, CredentialRotated).secret
    yield "credentials", {**stream.kept(), **SHOWN[CREDENTIAL](state), **named, "secret": secret}


def _of_role(stream: _Stream) -> Rows:
    said = next(event for event in reversed(stream.events) if not isinstance(event, RoleRemoved))
    granted = {"title": said.title, "permissions": list(said.permissions), "limits": _limits(said.limits)}
    yield "roles", {**stream.kept(), "name": stream.name, **granted, "removed": stream.last(RoleRemoved) is not None}


def _limits(limits: Limits) -> Any:
    return orjson.loads(orjson.dumps(asdict(limits)))


def _of_user(stream: _Stream) -> Rows:
    state = folded(USER, stream.events)
    issued = {event.token: _token(time, event) for time, event in stream.timed(TokenIssued)}
    linked = stream.last(UserLinked, IdentityLinked) if state.is_linked else None
    person = {"title": state.title, "sealed_title": state.sealed_title, "password": state.password}
    rights = {"roles": list(state.roles), "disabled": state.disabled, "erased": state.erased}
    proofs = {"sessions": list(state.sessions), "tokens": [issued[token] for token in state.tokens]}
    more = {"linked": asdict(linked) if linked else None, "last_sign_in_at": _time_of(stream.timed(SignedIn))}
    yield "users", {**stream.kept(), "name": stream.name, **person, **rights, **proofs, **more}


def _token(time: str, event: TokenIssued) -> Row:
    permissions = list(event.permissions) if event.permissions is not None else None
    said = {"token": event.token, "title": event.title, "secret": event.secret, "permissions": permissions}
    return {**said, "issued_at": time, "expires_at": _time(event.expires_at)}


# --- runs -------------------------------------------------------------------------------------------------------------


def _of_run(stream: _Stream) -> Rows:
    yield "runs", {**_asked_for(stream), **_came_to(stream)}
    yield from (("run_steps", row) for row in _steps(stream))


def _asked_for(stream: _Stream) -> Row:
    first, event = stream.recorded[0], stream.events[0]
    assert isinstance(event, RunRequested)
    return {
        "id": stream.name,
        "job": event.job,
        "revision": event.job_revision,
        "requested_by": _person(first.event),
        "reason": event.reason,
        "parameters": _plain(event)["parameters"],
        "selector": event.targets,
        "waits_for": list(event.waits_for),
        "replaces": event.replaces,
        "correlation_id": first.event.correlation_id,
        "requested_at": _time(first.event.time),
    }


def _came_to(stream: _Stream) -> Row:
    """What a finished run's state has forgotten is that of the state before its end."""
    events = stream.events
    end = next((number for number, event in enumerate(events) if isinstance(event, RunFinished)), len(events))
    finished: RunFinished | None = events[end] if end < len(events) else None
    last: Requested | Active = folded(RUN, events[:end])
    done = last.done if isinstance(last, Active) else {}
    return {
        "state": visible(folded(RUN, events)),
        "ending": _ending(stream),
        **_cancel(stream),
        "epoch": last.claim.epoch,
        "executor": last.claim.executor,
        "total": len(last.order if isinstance(last, Active) else last.planned),
        "counts": dict(finished.targets if finished else done),
        "error": _why_ended(stream, finished, last) if finished else None,
        "started_at": _time_of(stream.timed(RunStarted)),
        "finished_at": _time_of(stream.timed(RunFinished)),
        "output_end": max((e.output_end or 0 for e in events if isinstance(e, StepFinished)), default=0),
        "version": len(events),
        "offset": stream.recorded[-1].position.offset,
    }


def _why_ended(stream: _Stream, finished: RunFinished, last: Requested | Active) -> Row | None:
    """As it says itself, or by what happened to it, or by what its state forbade."""
    if finished.error:
        return asdict(finished.error)
    if cancelled_by := _cancel(stream)["cancelled_by"]:
        return {"code": "cancelled", "message": f"cancelled by {cancelled_by}"}
    if stream.last(RunTimeExceeded):
        return {"code": "run_timed_out", "message": "the run was over its job's timeout_s"}
    if stream.last(RunLost):
        return {"code": "executor_lost", "message": "the executor was lost, and the job says that its runs are lost with it"}
    if isinstance(last, Active) and last.too_many_failures and last.begun < len(last.order):
        message = "more targets failed than the job's max_failures allows; no further one was begun"
        return {"code": "max_failures", "message": message}
    return None


def _cancel(stream: _Stream) -> Row:
    pairs = zip(stream.recorded, stream.events, strict=True)
    asked = [(recorded.event, event) for recorded, event in pairs if isinstance(event, RunCancelRequested)]
    if not asked:
        return {"cancelled_by": None, "cancel_reason": None}
    envelope, event = asked[-1]
    return {"cancelled_by": _person(envelope), "cancel_reason": event.reason}


def _ending(stream: _Stream) -> str | None:
    """Whoever cancels a run that is over its time has the last word."""
    if stream.last(RunCancelRequested):
        return "cancelled"
    return "timed_out" if stream.last(RunTimeExceeded) else None


def _steps(stream: _Stream) -> Iterator[Row]:
    """A row for each attempt, and for each step of a planned target that never had one."""
    events = stream.events
    parts = [(number, event) for number, event in enumerate(events) if isinstance(event, RunPlanned)]
    begun = max((number for number, event in parts if event.part == 1), default=0)  # a plan may be begun anew
    starts = {(e.target, e.step, e.attempt): (time, e) for time, e in stream.timed(StepStarted)}
    ends = {(e.target, e.step, e.attempt): (time, e) for time, e in stream.timed(StepFinished)}
    attempts: dict[tuple[str, str], set[int]] = defaultdict(lambda: {1})
    for target, step, attempt in (*starts, *ends):
        attempts[target, step].add(attempt)
    for planned_at, plan in (part for part in parts if part[0] >= begun):
        for target in (planned.name for planned in plan.targets):
            left = _left(target, events[planned_at:])
            for index, step in enumerate(plan.steps):
                for attempt in attempts[target, step]:
                    start, end = starts.get((target, step, attempt)), ends.get((target, step, attempt))
                    key = {"run": stream.name, "target": target, "step_index": index, "attempt": attempt, "step": step}
                    yield {**key, **_attempt(start, end), **({} if start or end else {"state": left})}


def _attempt(start: tuple[str, StepStarted] | None, end: tuple[str, StepFinished] | None) -> Row:
    event = end[1] if end else None
    return {
        "state": event.state if event else "running",
        "exit_code": event.exit_code if event else None,
        "error": asdict(event.error) if event and event.error else None,
        "started_at": start[0] if start else None,
        "finished_at": end[0] if end else None,
    }


def _left(target: str, events: Sequence[Any]) -> str:
    """What becomes of a step that is never tried: whatever ends it first says so."""
    for event in events:
        if isinstance(event, RunCancelRequested):
            return "cancelled"
        if isinstance(event, RunFinished):
            return "skipped"
        if isinstance(event, StepFinished) and event.target == target and event.target_state is not None:
            return "cancelled" if event.target_state == "cancelled" else "skipped"
    return "pending"


# --- record by record -------------------------------------------------------------------------------------------------


def _of_event(recorded: RecordedEvent) -> Row:
    event, position = recorded.event, recorded.position
    named = ("stream", "version", "type", "schema_version", "correlation_id", "traceparent", "previous_hash", "hash")
    behalf = event.on_behalf_of
    return {
        **{name: getattr(event, name) for name in named},
        "event_id": str(event.event_id),
        "payload": event.payload.decode(),
        "actor_kind": event.actor.kind,
        "actor_name": event.actor.name,
        "behalf_kind": behalf.kind if behalf else None,
        "behalf_name": behalf.name if behalf else None,
        "time": _time(event.time),
        "command_id": str(event.command_id),
        "causation_id": str(event.causation_id) if event.causation_id else None,
        **position._asdict(),
    }


def _of_chunk(position: Position, chunk: OutputChunk) -> Row:
    named = ("run", "target", "step_index", "attempt", "sequence", "step", "stream")
    text = chunk.text.replace("\x00", "\ufffd")  # Postgres refuses U+0000
    return {**{name: getattr(chunk, name) for name in named}, "time": _time(chunk.time), "text": text, "offset": position.offset}


def _results(events: Sequence[RecordedEvent]) -> Iterator[Row]:
    ends = [recorded.event for recorded in events if recorded.event.type == RunFinished.__name__]
    tally = Counter((job_of(name_of(event.stream)), event_of(event).state) for event in ends)
    yield from ({"job": job, "state": state, "runs": number} for (job, state), number in tally.items())


# --- all of it --------------------------------------------------------------------------------------------------------

_MAKES: Mapping[str, tuple[Callable[[_Stream], Rows], tuple[str, ...]]] = {
    TARGET: (_of_target, ("targets", "target_labels")),
    CREDENTIAL: (_of_credential, ("credentials",)),
    USER: (_of_user, ("users",)),
    ROLE: (_of_role, ("roles",)),
    JOB: (_of_job, ("jobs", "job_revisions")),
    RUN: (_of_run, ("runs", "run_steps")),
}
"""By kind what the rows of a stream are, and in which tables they lie."""


def key_of(table: str, row: Row) -> Key:
    """The key of a row of that table."""
    return tuple(row[name] for name in KEYS[table])


def rows_of(events: Sequence[RecordedEvent], output: Sequence[tuple[Position, OutputChunk]]) -> Expected:
    """The rows that these records make, each partition's in their order."""
    rows: dict[str, dict[Key, Row]] = {table: {} for table in KEYS}
    unsaid: set[tuple[str, str]] = set()
    for stream, recorded in _by_stream(events).items():
        make, tables = _MAKES.get(kind_of(stream), (lambda _: iter(()), ()))
        name = name_of(stream)
        try:
            made = list(make(_Stream(name, recorded, [event_of(each.event) for each in recorded])))
        except Exception:
            unsaid |= {(table, name) for table in tables}
            continue
        for table, row in made:
            rows[table][key_of(table, row)] = row
    rows["job_results"] = {key_of("job_results", row): row for row in _results(events)}
    rows["events"] = {key_of("events", row): row for row in map(_of_event, events)}
    for position, chunk in output:
        row = _of_chunk(position, chunk)
        rows["run_output"].setdefault(key_of("run_output", row), row)  # published twice: the first one stays
    return Expected(rows, frozenset(unsaid))


def _by_stream(events: Sequence[RecordedEvent]) -> Mapping[str, list[RecordedEvent]]:
    found: dict[str, list[RecordedEvent]] = defaultdict(list)
    for recorded in events:
        found[recorded.event.stream].append(recorded)
    return found

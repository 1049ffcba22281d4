"""What does a version of the log look like, by the domain's own fold? Nothing of the projections' code is asked."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from commands.deciders import TABLE
from domain.identity import CREDENTIAL, JOB, RUN, TARGET, USER, kind_of, name_of
from domain.run.messages import RunFinished
from domain.run.state import Active, Requested, visible
from schemas.event_envelope import RecordedEvent
from schemas.event_types import event_of
from schemas.payload import to_json

Shown = Mapping[str, Any]

SHOWN: Mapping[str, Callable[[Any], Shown]] = {
    TARGET: lambda s: {"title": s.title, "host": s.host, "labels": dict(s.labels), "retired": s.retired},
    JOB: lambda s: {"title": s.definition.title, "revision": s.revision, "archived": s.archived},
    CREDENTIAL: lambda s: {"revision": s.revision, "revoked": s.revoked},
}
"""What a state says of what a read shows, by kind."""


def folded(kind: str, events: Sequence[Any]) -> Any:
    """The state after all of a stream's events."""
    decider = TABLE[kind].decider
    return decider.fold(decider.initial_state, events)


# --- rows -------------------------------------------------------------------------------------------------------------


def _target(events: Sequence[Any]) -> Shown:
    state = folded(TARGET, events)
    more = {"connection": asdict(state.connection), "reachable": state.reachable, "open_checks": list(state.open_checks)}
    return {**SHOWN[TARGET](state), **more, "credential": state.connection.credential, "version": len(events)}


def _job(events: Sequence[Any]) -> Shown:
    state = folded(JOB, events)
    definition = orjson.loads(to_json(state.definition))
    return {"revision": state.revision, "archived": state.archived, "definition": definition, "version": len(events)}


def _credential(events: Sequence[Any]) -> Shown:
    state = folded(CREDENTIAL, events)
    return {**SHOWN[CREDENTIAL](state), "kind": state.kind, "version": len(events)}


def _user(events: Sequence[Any]) -> Shown:
    """Without sessions and version: to read the rows somebody signs in, which may be after the log was read."""
    state = folded(USER, events)
    said = {"title": state.title, "sealed_title": state.sealed_title, "password": state.password}
    return {**said, "roles": list(state.roles), "disabled": state.disabled, "erased": state.erased}


def _run(events: Sequence[Any]) -> Shown:
    """What a finished run's state has forgotten is that of the state before its end."""
    end = next((number for number, event in enumerate(events) if isinstance(event, RunFinished)), len(events))
    last: Requested | Active = folded(RUN, events[:end])
    is_active = isinstance(last, Active)
    return {
        "job": last.job,
        "revision": last.job_revision,
        "state": visible(folded(RUN, events)),
        "epoch": last.claim.epoch,
        "executor": last.claim.executor,
        "total": len(last.order if is_active else last.planned),
        "counts": dict(events[end].targets if end < len(events) else last.done if is_active else {}),
        "version": len(events),
    }


@dataclass(frozen=True, slots=True)
class Kept:
    """In which table the rows of a kind are kept, under which key, and what a stream's events say of its row."""

    table: str
    key: str
    columns: Callable[[Sequence[Any]], Shown]


KEPT: Mapping[str, Kept] = {
    TARGET: Kept("targets", "name", _target),
    JOB: Kept("jobs", "name", _job),
    CREDENTIAL: Kept("credentials", "name", _credential),
    USER: Kept("users", "name", _user),
    RUN: Kept("runs", "id", _run),
}

KEYS = {kept.table: kept.key for kept in KEPT.values()}


def columns_of(events: Sequence[RecordedEvent]) -> dict[str, dict[str, Shown]]:
    """By table and key what each row must say; nothing of a row whose events do not fit together."""
    streams: dict[str, list[Any]] = defaultdict(list)
    for recorded in events:
        if kind_of(recorded.event.stream) in KEPT:
            streams[recorded.event.stream].append(event_of(recorded.event))
    found: dict[str, dict[str, Shown]] = {kept.table: {} for kept in KEPT.values()}
    for stream, its in streams.items():
        kept = KEPT[kind_of(stream)]
        try:
            found[kept.table][name_of(stream)] = kept.columns(its)
        except Exception:
            found[kept.table][name_of(stream)] = {}
    return found

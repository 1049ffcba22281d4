"""How is one thing in a recorded history changed, and all that goes with it, as somebody would who could compute hashes?

What a history lacks for it raises `StopIteration` or `IndexError`: another one may have it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson

from domain.audit.hash_chain import GENESIS
from domain.identity import name_of
from schemas.event_envelope import EventEnvelope, RecordedEvent, hash_of
from schemas.event_types import event_of
from schemas.outcome import Accepted, Outcome
from schemas.position import Partition
from tests.support.evidence import Evidence, Told, mark_of
from tests.support.rows_of_log import key_of, rows_of

NOBODY = UUID(int=0)


def said(event: EventEnvelope) -> Any:
    return orjson.loads(event.payload)


def of_type(evidence: Evidence, kind: str) -> list[RecordedEvent]:
    return [recorded for recorded in evidence.events if recorded.event.type == kind]


def chained(events: Sequence[RecordedEvent]) -> list[RecordedEvent]:
    """The same events with hashes that fit."""
    heads: dict[Partition, str] = {}
    fitting = []
    for recorded in events:
        event = replace(recorded.event, previous_hash=heads.get(recorded.position.partition, GENESIS))
        event = replace(event, hash=hash_of(event))
        heads[recorded.position.partition] = event.hash
        fitting.append(RecordedEvent(event, recorded.position))
    return fitting


def altered(evidence: Evidence, old: RecordedEvent, fields: dict[str, Any] | None = None, **more: Any) -> Evidence:
    """One event says something else; whoever altered it could compute hashes."""
    if fields:
        more["payload"] = orjson.dumps({**said(old.event), **fields})
    new = RecordedEvent(replace(old.event, **more), old.position)
    return replace(evidence, events=chained([new if recorded == old else recorded for recorded in evidence.events]))


def sent_as(evidence: Evidence, old: RecordedEvent, **more: Any) -> Evidence:
    """One event, alone of its command, and that command say something else."""
    commands = [
        replace(taken, body=replace(taken.body, **more)) if taken.body.command_id == old.event.command_id else taken
        for taken in evidence.commands or ()
    ]
    return replace(altered(evidence, old, **more), commands=commands)


def answered(evidence: Evidence, command_id: UUID, change: Callable[[Outcome], Outcome | None]) -> Evidence:
    """The outcomes of one command say something else, or are gone."""
    kept = [change(outcome) if outcome.command_id == command_id else outcome for outcome in evidence.outcomes]
    return replace(evidence, outcomes=[outcome for outcome in kept if outcome])


def again(evidence: Evidence, command_id: UUID, as_id: UUID | None = None) -> Evidence:
    """A command comes into its lane once more, or once under another id."""
    commands = evidence.commands or ()
    one = next(taken for taken in commands if taken.body.command_id == command_id)
    return replace(evidence, commands=[*commands, replace(one, body=replace(one.body, command_id=as_id or command_id))])


def never_came(evidence: Evidence, command_id: UUID) -> Evidence:
    """Neither the command nor an outcome of it is anywhere."""
    commands = [taken for taken in evidence.commands or () if taken.body.command_id != command_id]
    return answered(replace(evidence, commands=commands), command_id, lambda outcome: None)


def with_rows(evidence: Evidence, table: str, rows: Sequence[Any]) -> Evidence:
    """These rows are in the table, and are again when it is built anew."""
    return replace(evidence, live={**evidence.live, table: rows}, rebuilt={**evidence.rebuilt, table: rows})


def followed(evidence: Evidence) -> Evidence:
    """Read models say what the log says by now; where it says nothing, what they said."""
    expected = rows_of(evidence.events, evidence.output or ())
    for table, wanted in expected.rows.items():
        unsaid = {key_of(table, row): row for row in evidence.live[table]}
        rows = wanted | {key: row for key, row in unsaid.items() if (table, key[0]) in expected.unsaid}
        evidence = with_rows(evidence, table, [rows[key] for key in sorted(rows)])
    return evidence


def accepted(evidence: Evidence) -> Told:
    return next(told for told in evidence.told if isinstance(told.result, Accepted) and told.result.event_ids)


def alone(evidence: Evidence) -> RecordedEvent:
    """A system's event that is the last of its stream and the only one of its command."""
    last = {recorded.event.stream: recorded for recorded in evidence.events}
    commands = [recorded.event.command_id for recorded in evidence.events]
    return next(e for e in last.values() if e.event.actor.kind == "system" and commands.count(e.event.command_id) == 1)


def step_finished(evidence: Evidence, started: RecordedEvent) -> RecordedEvent:
    at = ("step", "target", "attempt")
    wanted = [said(started.event)[name] for name in at]
    ends = [e for e in of_type(evidence, "StepFinished") if e.event.stream == started.event.stream]
    return next(e for e in ends if [said(e.event)[name] for name in at] == wanted)


def unseen(evidence: Evidence, step: RecordedEvent) -> Evidence:
    """No target saw this attempt."""
    mark = mark_of(name_of(step.event.stream), event_of(step.event))
    return replace(evidence, starts=[start for start in evidence.starts if start.mark != mark])


def overlapping(evidence: Evidence) -> RecordedEvent:
    """A requested run that waits for others."""
    return next(recorded for recorded in of_type(evidence, "RunRequested") if said(recorded.event)["waits_for"])


def with_a_gap(evidence: Evidence) -> tuple[RecordedEvent, RecordedEvent]:
    """A claim and a later event of its run that does not follow at once; both are the only ones of their commands."""
    caused = Counter(recorded.event.command_id for recorded in evidence.events)
    single = [e for e in evidence.events if caused[e.event.command_id] == 1 and e.event.actor.kind == "system"]
    claims = {e.event.stream: e for e in single if e.event.type == "RunClaimed"}
    return next(
        (claims[later.event.stream], later)
        for later in single
        if later.event.stream in claims and later.event.version > claims[later.event.stream].event.version + 1
    )


def definition_of(evidence: Evidence, run: str) -> RecordedEvent:
    """The event that says what this stream of a run goes by."""
    request = next(said(e.event) for e in of_type(evidence, "RunRequested") if e.event.stream == run)
    defined = [*of_type(evidence, "JobDefined"), *of_type(evidence, "JobRevised")]
    its = (e for e in defined if e.event.stream == f"job/{request['job']}")
    return next(e for e in its if said(e.event)["revision"] == request["job_revision"])


def recommanded(evidence: Evidence, command_id: UUID, **fields: Any) -> Evidence:
    """A command said something else in the log."""
    commands = evidence.commands or ()
    old = next(taken for taken in commands if taken.body.command_id == command_id)
    new = replace(old, body=replace(old.body, payload=orjson.dumps({**orjson.loads(old.body.payload), **fields})))
    return replace(evidence, commands=[new if taken.body == old.body else taken for taken in commands])

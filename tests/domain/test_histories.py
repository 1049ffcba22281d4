"""Does today's code still read yesterday's log, and to the same state?

A file below `histories` is never changed: it stands for logs that exist. New ones are added when there are new events.
"""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import orjson
import pytest

from commands.deciders import TABLE
from domain.identity import kind_of
from schemas.actor import system
from schemas.event_envelope import EventEnvelope
from schemas.event_types import TABLE as EVENTS
from schemas.event_types import event_of
from schemas.payload import adapter

FILES = sorted((Path(__file__).parent / "histories").glob("*.json"))


def envelope(stream, version, kind, schema_version, payload):
    return EventEnvelope(
        event_id=UUID(int=version),
        type=kind,
        schema_version=schema_version,
        stream=stream,
        version=version,
        payload=payload,
        actor=system("test"),
        time=datetime(2026, 1, 1, tzinfo=UTC),
        command_id=UUID(int=0),
        correlation_id="c",
        previous_hash="",
        hash="",
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recorded_history_still_folds_to_its_recorded_state(file):
    history = orjson.loads(file.read_bytes())
    stream, aggregate = history["stream"], TABLE[kind_of(history["stream"])]
    events = [
        event_of(envelope(stream, version, e["type"], e["schema_version"], orjson.dumps(e["payload"])))
        for version, e in enumerate(history["events"], 1)
    ]
    state = aggregate.decider.fold(aggregate.decider.initial_state, events)
    assert orjson.loads(adapter(aggregate.state).dump_json(state)) == history["state"]


def test_every_event_stands_in_some_recorded_history():
    recorded = {event["type"] for file in FILES for event in orjson.loads(file.read_bytes())["events"]}
    assert recorded == set(EVENTS)

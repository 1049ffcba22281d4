"""Recorded histories: what once stood in a log, readable, beside the state it folded to when it was recorded."""

from pathlib import Path
from typing import Any

import orjson

from commands.deciders import TABLE
from domain.identity import kind_of
from schemas.event_types import TABLE as EVENTS
from schemas.payload import adapter, to_json

FOLDER = Path(__file__).parent.parent / "domain" / "histories"


def written(stream: str, events: list[Any], state: Any) -> bytes:
    """A history as its file holds it: one readable JSON object."""
    listed = [
        {"type": type(event).__name__, "schema_version": EVENTS[type(event).__name__][0], "payload": orjson.loads(to_json(event))}
        for event in events
    ]
    kept = orjson.loads(adapter(TABLE[kind_of(stream)].state).dump_json(state))
    return orjson.dumps({"stream": stream, "events": listed, "state": kept}, option=orjson.OPT_INDENT_2) + b"\n"

"""Is every event that was ever stored still readable, and written as it always was?

`golden/<Event>.v<n>.json` is a payload as it stood in the log. These files are never changed; a new schema version adds one.
"""

from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import orjson
import pytest

from domain.rejection import Invalid
from domain.user.messages import CommandsDenied, Denials
from schemas import upcasters
from schemas.actor import system
from schemas.event_envelope import EventEnvelope
from schemas.event_types import TABLE, UnknownEvent, event_of
from schemas.payload import to_json

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = [(name, version) for name, (current, _) in TABLE.items() for version in range(1, current + 1)]


def golden(name: str, version: int) -> bytes:
    return (GOLDEN / f"{name}.v{version}.json").read_bytes().rstrip(b"\n")


def stored(name: str, version: int, payload: bytes) -> EventEnvelope:
    return EventEnvelope(
        event_id=UUID(int=1),
        type=name,
        schema_version=version,
        stream="target/t",
        version=1,
        payload=payload,
        actor=system("test"),
        time=datetime(2026, 1, 1, tzinfo=UTC),
        command_id=UUID(int=2),
        correlation_id="c",
        previous_hash="",
        hash="",
    )


def test_there_is_a_golden_file_for_every_version_of_every_event_and_no_other():
    assert {file.name for file in GOLDEN.glob("*")} == {f"{name}.v{version}.json" for name, version in VERSIONS}


def test_there_is_an_upcaster_from_every_old_version_and_no_other():
    assert set(upcasters.TABLE) == {(name, version) for name, version in VERSIONS if version < TABLE[name][0]}


@pytest.mark.parametrize(("name", "version"), VERSIONS)
def test_every_stored_version_is_read_as_the_current_class(name, version):
    event = event_of(stored(name, version, golden(name, version)))
    assert type(event) is TABLE[name][1]
    assert to_json(event) == golden(name, TABLE[name][0]), "upcast and written again it is the current golden payload"


def with_floats(value, number):
    """The value with this number for every float in it."""
    if is_dataclass(value):
        return replace(value, **{field.name: with_floats(getattr(value, field.name), number) for field in fields(value)})
    if isinstance(value, tuple):
        return tuple(with_floats(item, number) for item in value)
    if isinstance(value, dict):
        return {key: with_floats(item, number) for key, item in value.items()}
    return number if isinstance(value, float) else value


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_no_event_says_null_for_a_number_that_is_not_finite_however_deep_it_is(number):
    with_numbers = set()
    for name, (version, _) in TABLE.items():
        event = event_of(stored(name, version, golden(name, version)))
        broken = with_floats(event, number)
        if broken != event:
            with_numbers.add(name)
            with pytest.raises(Invalid, match="finite"):
                to_json(broken)
    assert with_numbers >= {"JobDefined", "RunRequested", "TargetChecked"}


@pytest.mark.parametrize("name", TABLE)
def test_an_old_reader_passes_over_fields_it_does_not_know(name):
    payload = orjson.dumps({**orjson.loads(golden(name, TABLE[name][0])), "added_later": 1})
    assert event_of(stored(name, TABLE[name][0], payload)) == event_of(stored(name, TABLE[name][0], golden(name, TABLE[name][0])))


@pytest.mark.parametrize(
    ("name", "version", "payload"),
    [
        ("NobodyKnows", 1, b"{}"),
        ("JobArchived", 2, b"{}"),
        ("JobArchived", 0, b"{}"),
        ("JobArchived", -1, b"{}"),
        ("UserCreated", 1, b"{}"),
        ("UserCreated", 1, b"not json: hunter2"),
        ("UserCreated", 1, b'{"name": {"hunter2": 1}, "password": "hunter2"}'),
    ],
)
def test_what_cannot_be_read_stops_the_reader_and_shows_nothing_of_the_payload(name, version, payload):
    with pytest.raises(UnknownEvent, match=name) as stopped:
        event_of(stored(name, version, payload))
    assert "hunter2" not in str(stopped.value)


def test_upcasting_goes_step_by_step(monkeypatch):
    steps = {("E", 1): lambda body: {**body, "b": body["a"]}, ("E", 2): lambda body: {"c": body["b"] + 1}}
    monkeypatch.setattr(upcasters, "TABLE", steps)
    assert upcasters.upcast("E", 1, 3, b'{"a":1}') == b'{"c":2}'
    assert upcasters.upcast("E", 3, 3, b'{ "as": "it is" }') == b'{ "as": "it is" }'


def test_what_denied_commands_were_about_is_stored_under_these_names():
    """The golden file of the current version is what an old one comes to, and so names nothing."""
    about = (Denials("jobs.write", "job/web-deploy", 3),)
    then = datetime(2026, 1, 1, tzinfo=UTC)
    said = to_json(CommandsDenied({"jobs.write": 3}, then, then, about, 0))
    stored_so = b'"about":[{"permission":"jobs.write","object":"job/web-deploy","count":3}]'
    assert stored_so in said and event_of(stored("CommandsDenied", 2, said)).about == about

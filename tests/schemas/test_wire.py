"""Does every record come back from the log as it was sent, and is everything else undecodable rather than a crash?"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.audit.hash_chain import GENESIS
from domain.rejection import FieldError
from schemas.actor import Actor
from schemas.command_envelope import CommandEnvelope
from schemas.event_envelope import EventEnvelope, hash_of
from schemas.heartbeat import Heartbeat
from schemas.log import Undecodable
from schemas.outcome import Accepted, Outcome, Rejected
from schemas.partitioning import shard_of
from schemas.run_output import OutputChunk
from schemas.topics import BY_NAME, EVENT_TOPIC
from schemas.wire import WireRecord, decode, encode, topic_of

SHARDS = 12
TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
WORD = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)
RUN = st.builds(lambda job, uuid: f"run/{job}.{uuid}", WORD, st.uuids())
STREAMS = st.one_of(st.builds("{}/{}".format, st.sampled_from(("target", "credential", "user", "job")), WORD), RUN)
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive here
ACTORS = st.builds(Actor, st.sampled_from(("user", "token", "system")), TEXT)
PAYLOADS = st.dictionaries(TEXT, TEXT, max_size=3).map(orjson.dumps)
TRACES = st.none() | st.from_regex(r"[0-9a-f-]{1,55}", fullmatch=True)
COMMON = {
    "stream": STREAMS,
    "payload": PAYLOADS,
    "actor": ACTORS,
    "on_behalf_of": st.none() | ACTORS,
    "correlation_id": WORD,
    "causation_id": st.none() | st.uuids(),
    "time": TIMES,
    "traceparent": TRACES,
    "type": WORD,
    "command_id": st.uuids(),
}
COMMANDS = st.builds(CommandEnvelope, **COMMON, fingerprint=TEXT, expected_version=st.none() | st.integers(0, 2**53))
EVENTS = st.builds(
    EventEnvelope,
    **COMMON,
    event_id=st.uuids(),
    schema_version=st.integers(1, 99),
    version=st.integers(1, 2**53),
    previous_hash=st.just(GENESIS),
    hash=WORD,
)
RESULTS = st.builds(Accepted, st.integers(0, 2**53), st.lists(st.uuids(), max_size=3).map(tuple)) | st.builds(
    Rejected, WORD, TEXT, st.lists(st.builds(FieldError, TEXT, TEXT), max_size=3).map(tuple)
)
OUTCOMES = st.builds(
    Outcome,
    command_id=st.uuids(),
    stream=STREAMS,
    type=WORD,
    actor=ACTORS,
    fingerprint=TEXT,
    correlation_id=WORD,
    time=TIMES,
    result=RESULTS,
)
CHUNKS = st.builds(
    OutputChunk,
    run=RUN,
    target=WORD,
    step=WORD,
    step_index=st.integers(0, 99),
    attempt=st.integers(1, 99),
    stream=st.sampled_from(("stdout", "stderr")),
    sequence=st.integers(1, 2**53),
    time=TIMES,
    text=TEXT,
)
BEATS = st.builds(Heartbeat, executor=WORD, time=TIMES, running=st.integers(0, 99), leaving=st.booleans())

COMMAND = CommandEnvelope(
    command_id=UUID(int=1),
    type="T",
    stream="target/t",
    payload=b"{}",
    actor=Actor("user", "u"),
    correlation_id="c",
    time=datetime(2026, 1, 1, tzinfo=UTC),
    fingerprint="f",
)


@given(COMMANDS, st.sampled_from(("commands.people", "commands.system")))
def test_a_command_comes_back(command, lane):
    assert decode(lane, shard_of(command.stream, SHARDS), SHARDS, encode(command)) == command


@given(EVENTS)
def test_an_event_comes_back_byte_for_byte_and_with_the_same_hash(event):
    event = replace(event, hash=hash_of(event))
    again = decode(topic_of(event.stream), shard_of(event.stream, SHARDS), SHARDS, encode(event))
    assert again == event and again.payload == event.payload and hash_of(again) == event.hash


@given(OUTCOMES)
def test_an_outcome_comes_back(outcome):
    assert decode("outcomes", 0, SHARDS, encode(outcome)) == outcome


@given(CHUNKS | BEATS)
def test_finite_records_come_back(record):
    topic = "run-output" if isinstance(record, OutputChunk) else "executors"
    assert decode(topic, 0, SHARDS, encode(record)) == record


@given(EVENTS, st.data())
def test_every_field_of_an_event_is_under_its_hash(event, data):
    fields = [f for f in EventEnvelope.__dataclass_fields__ if f != "hash"]
    field = data.draw(st.sampled_from(fields))
    other = replace(event, **{field: getattr(data.draw(EVENTS), field)})
    other = replace(other, previous_hash="f" * 64) if field == "previous_hash" else other
    same = getattr(other, field) == getattr(event, field)
    assert (hash_of(other) == hash_of(event)) is same


@given(COMMANDS)
def test_a_record_in_the_wrong_shard_is_undecodable(command):
    wrong = (shard_of(command.stream, SHARDS) + 1) % SHARDS
    found = decode("commands.people", wrong, SHARDS, encode(command))
    assert isinstance(found, Undecodable) and "shard" in found.reason


@given(EVENTS)
def test_an_event_in_the_wrong_topic_is_undecodable(event):
    for topic in set(EVENT_TOPIC.values()) - {topic_of(event.stream)}:
        assert isinstance(decode(topic, shard_of(event.stream, SHARDS), SHARDS, encode(event)), Undecodable)


HEADERS = st.lists(
    st.tuples(st.sampled_from(["ce_id", "ce_type", "ce_time", "ce_subject", "ce_actor", "x"]), st.binary(max_size=20))
)


@given(st.sampled_from(sorted(BY_NAME)), st.binary(max_size=20), st.binary(max_size=60), HEADERS)
def test_any_bytes_are_decoded_or_undecodable(topic, key, value, headers):
    assert decode(topic, 0, SHARDS, WireRecord(key, value, tuple(headers))) is not None


@given(COMMANDS, st.data())
def test_a_command_with_a_header_lost_or_broken_is_undecodable_or_has_lost_only_what_is_optional(command, data):
    record = encode(command)
    index = data.draw(st.integers(0, len(record.headers) - 1))
    name, _ = record.headers[index]
    without = replace(record, headers=tuple(h for n, h in enumerate(record.headers) if n != index))
    found = decode("commands.people", shard_of(command.stream, SHARDS), SHARDS, without)
    optional = {
        "ce_specversion",
        "ce_source",
        "content-type",
        "ce_onbehalfof",
        "ce_expectedversion",
        "ce_causationid",
        "traceparent",
    }
    assert isinstance(found, Undecodable) is (name not in optional)


@pytest.mark.parametrize("time", [datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2)))])  # noqa: DTZ001
def test_a_commands_time_is_utc(time):
    command = replace(COMMAND, time=time)
    assert isinstance(decode("commands.people", shard_of("target/t", SHARDS), SHARDS, encode(command)), Undecodable)


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"1", b'"x"', b"{", b"\xff", b'{"a": NaN}'])
def test_a_commands_payload_is_a_json_object(payload):
    command = replace(COMMAND, payload=payload)
    assert isinstance(decode("commands.people", shard_of("target/t", SHARDS), SHARDS, encode(command)), Undecodable)

"""How does each thing look in the log? Headers and value, the same in every adapter.

Events and commands use the CloudEvents 1.0 Kafka binding in binary mode: attributes are `ce_` headers, the value is the JSON
payload alone. Outcomes, run output and heartbeats are plain JSON values.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from domain.rejection import FieldError
from schemas.actor import Actor
from schemas.attributes import actor_bytes, actor_from, id_bytes, id_from, time_bytes
from schemas.command_envelope import CommandEnvelope
from schemas.event_envelope import EventEnvelope
from schemas.heartbeat import Heartbeat
from schemas.log import Undecodable
from schemas.outcome import Accepted, Outcome, Rejected
from schemas.partitioning import shard_of
from schemas.quickly_made import quickly_made
from schemas.run_output import OutputChunk
from schemas.topics import BY_NAME, EVENT_TOPIC, Holds

Body = EventEnvelope | Outcome | OutputChunk | Heartbeat | CommandEnvelope

_IN_STREAMS = (CommandEnvelope, EventEnvelope)


@quickly_made
@dataclass(frozen=True, slots=True)
class WireRecord:
    """A record as bytes: key, value and headers in their order."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


_SPEC = ("ce_specversion", b"1.0")
_JSON = ("content-type", b"application/json")
_FROM_COMMANDS = ("ce_source", b"/opsconductor/commands")
_FROM_EVENTS = ("ce_source", b"/opsconductor")


def encode_command(command: CommandEnvelope) -> WireRecord:
    """A command as it stands on its lane."""
    headers = [
        _SPEC,
        ("ce_id", id_bytes(command.command_id)),
        ("ce_type", command.type.encode()),
        _FROM_COMMANDS,
        ("ce_time", time_bytes(command.time)),
        ("ce_subject", command.stream.encode()),
        ("ce_actor", actor_bytes(command.actor)),
        ("ce_correlationid", command.correlation_id.encode()),
        ("ce_fingerprint", command.fingerprint.encode()),
        _JSON,
    ]
    if command.on_behalf_of:
        headers.append(("ce_onbehalfof", actor_bytes(command.on_behalf_of)))
    if command.expected_version is not None:
        headers.append(("ce_expectedversion", b"%d" % command.expected_version))
    if command.causation_id:
        headers.append(("ce_causationid", id_bytes(command.causation_id)))
    if command.traceparent:
        headers.append(("traceparent", command.traceparent.encode()))
    return WireRecord(command.stream.encode(), command.payload, tuple(headers))


def _decode_command(record: WireRecord, head: Mapping[str, bytes]) -> CommandEnvelope:
    expected, behalf = head.get("ce_expectedversion"), head.get("ce_onbehalfof")
    if not isinstance(orjson.loads(record.value), dict):
        raise ValueError("the payload is not an object")
    return CommandEnvelope(
        command_id=id_from(head["ce_id"].decode()),
        type=head["ce_type"].decode(),
        stream=head["ce_subject"].decode(),
        payload=record.value,
        actor=actor_from(head["ce_actor"]),
        on_behalf_of=actor_from(behalf) if behalf else None,
        expected_version=int(expected) if expected is not None else None,
        correlation_id=head["ce_correlationid"].decode(),
        causation_id=_uuid(head.get("ce_causationid")),
        time=_utc(head["ce_time"]),
        fingerprint=head["ce_fingerprint"].decode(),
        traceparent=_text(head.get("traceparent")),
    )


def encode_event(event: EventEnvelope) -> WireRecord:
    """An event as it stands in its topic."""
    headers = [
        _SPEC,
        ("ce_id", id_bytes(event.event_id)),
        ("ce_type", event.type.encode()),
        _FROM_EVENTS,
        ("ce_time", time_bytes(event.time)),
        ("ce_subject", event.stream.encode()),
        ("ce_schemaversion", b"%d" % event.schema_version),
        ("ce_streamversion", b"%d" % event.version),
        ("ce_actor", actor_bytes(event.actor)),
        ("ce_commandid", id_bytes(event.command_id)),
        ("ce_correlationid", event.correlation_id.encode()),
        ("ce_previoushash", event.previous_hash.encode()),
        ("ce_hash", event.hash.encode()),
        _JSON,
    ]
    if event.on_behalf_of:
        headers.append(("ce_onbehalfof", actor_bytes(event.on_behalf_of)))
    if event.causation_id:
        headers.append(("ce_causationid", id_bytes(event.causation_id)))
    if event.traceparent:
        headers.append(("traceparent", event.traceparent.encode()))
    return WireRecord(event.stream.encode(), event.payload, tuple(headers))


def _decode_event(record: WireRecord, head: Mapping[str, bytes]) -> EventEnvelope:
    behalf = head.get("ce_onbehalfof")
    return EventEnvelope(
        event_id=id_from(head["ce_id"].decode()),
        type=head["ce_type"].decode(),
        schema_version=int(head["ce_schemaversion"]),
        stream=head["ce_subject"].decode(),
        version=int(head["ce_streamversion"]),
        payload=record.value,
        actor=actor_from(head["ce_actor"]),
        on_behalf_of=actor_from(behalf) if behalf else None,
        time=datetime.fromisoformat(head["ce_time"].decode()),
        command_id=id_from(head["ce_commandid"].decode()),
        correlation_id=head["ce_correlationid"].decode(),
        causation_id=_uuid(head.get("ce_causationid")),
        traceparent=_text(head.get("traceparent")),
        previous_hash=head["ce_previoushash"].decode(),
        hash=head["ce_hash"].decode(),
    )


def encode_outcome(outcome: Outcome) -> WireRecord:
    """An outcome as it stands in `outcomes`; its key is the command's stream, so it shares the command's shard."""
    return WireRecord(outcome.stream.encode("utf-8", "replace"), outcome_json(outcome))


def outcome_json(outcome: Outcome) -> bytes:
    """An outcome's JSON, written once."""
    if outcome.written is not None:
        return outcome.written
    body: dict[str, Any] = {
        "command_id": outcome.command_id,
        "stream": outcome.stream,
        "type": outcome.type,
        "actor": {"kind": outcome.actor.kind, "name": outcome.actor.name},
        "fingerprint": outcome.fingerprint,
        "correlation_id": outcome.correlation_id,
        "time": outcome.time if outcome.time.tzinfo is UTC else outcome.time.isoformat(),
    }
    match outcome.result:
        case Accepted(version, event_ids):
            body["accepted"] = {"version": version, "event_ids": event_ids}
        case Rejected(code, message, errors):
            body["rejected"] = {"code": code, "message": message, "errors": errors}
    written = orjson.dumps(body)
    object.__setattr__(outcome, "written", written)
    return written


def _decode_outcome(record: WireRecord, head: Mapping[str, bytes]) -> Outcome:
    body = orjson.loads(record.value)
    result: Accepted | Rejected
    if "accepted" in body:
        kept = body["accepted"]
        result = Accepted(kept["version"], tuple([id_from(i) for i in kept["event_ids"]]))
    else:
        kept = body["rejected"]
        errors = tuple(FieldError(e["field"], e["message"]) for e in kept["errors"])
        result = Rejected(kept["code"], kept["message"], errors)
    return Outcome(
        command_id=id_from(body["command_id"]),
        stream=body["stream"],
        type=body["type"],
        actor=Actor(body["actor"]["kind"], body["actor"]["name"]),
        fingerprint=body["fingerprint"],
        correlation_id=body["correlation_id"],
        time=datetime.fromisoformat(body["time"]),
        result=result,
    )


def encode_finite(record: OutputChunk | Heartbeat) -> WireRecord:
    """A piece of run output (keyed by its run) or a heartbeat (keyed by its executor)."""
    key = record.run if isinstance(record, OutputChunk) else record.executor
    return WireRecord(key.encode(), orjson.dumps(record))


def _decode_output(record: WireRecord, head: Mapping[str, bytes]) -> OutputChunk:
    body = orjson.loads(record.value)
    return OutputChunk(**{**body, "time": datetime.fromisoformat(body["time"])})


def _decode_heartbeat(record: WireRecord, head: Mapping[str, bytes]) -> Heartbeat:
    body = orjson.loads(record.value)
    return Heartbeat(**{**body, "time": datetime.fromisoformat(body["time"])})


_DECODERS: dict[Holds, Callable[[WireRecord, Mapping[str, bytes]], Body]] = {
    "commands": _decode_command,
    "events": _decode_event,
    "outcomes": _decode_outcome,
    "output": _decode_output,
    "heartbeats": _decode_heartbeat,
}


def encode(body: Body) -> WireRecord:
    """Any record as bytes."""
    match body:
        case CommandEnvelope():
            return encode_command(body)
        case EventEnvelope():
            return encode_event(body)
        case Outcome():
            return encode_outcome(body)
        case _:
            return encode_finite(body)


def decode(topic: str, shard: int, shards: int, record: WireRecord) -> Body | Undecodable:
    """What a record of `topic` says; `Undecodable` with a reason when it does not parse or is in the wrong shard."""
    try:
        body = _DECODERS[BY_NAME[topic].holds](record, dict(record.headers))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        return Undecodable(f"{type(error).__name__}: {error}", record.key, record.value)
    if isinstance(body, _IN_STREAMS) and shard_of(body.stream, shards) != shard:
        return Undecodable(f"stream {body.stream} does not live in shard {shard}", record.key, record.value)
    if isinstance(body, EventEnvelope) and EVENT_TOPIC.get(body.stream.partition("/")[0]) != topic:
        return Undecodable(f"stream {body.stream} does not live in topic {topic}", record.key, record.value)
    return body


def topic_of(stream: str) -> str:
    """The event topic of a stream. Raises `KeyError` for an unknown type."""
    return EVENT_TOPIC[stream.partition("/")[0]]


def _utc(raw: bytes) -> datetime:
    time = datetime.fromisoformat(raw.decode())
    if time.tzinfo is not UTC and time.utcoffset() != timedelta(0):
        raise ValueError("the time is not UTC")
    return time


def _uuid(raw: bytes | None) -> UUID | None:
    return id_from(raw.decode()) if raw else None


def _text(raw: bytes | None) -> str | None:
    return raw.decode() if raw else None

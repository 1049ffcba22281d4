"""How do decided events become events of the log? Numbered, linked to the chain, each within what a topic takes."""

from collections.abc import Sequence
from typing import Any

from domain.rejection import Rejection
from schemas.command_envelope import CommandEnvelope
from schemas.derived_id import derived_id
from schemas.event_envelope import EventEnvelope, hash_of
from schemas.event_types import TABLE
from schemas.payload import to_json
from schemas.topics import MAX_PAYLOAD_BYTES

MAX_EVENTS = 10_000
"""The most events one command may cause: its outcome names them all and must fit a record too."""


def recorded(command: CommandEnvelope, decided: Sequence[Any], version: int, previous: str) -> tuple[EventEnvelope, ...]:
    """The envelopes of the events that `command` caused in a stream at `version`; `previous` is the hash before the first.

    Raises a `Rejection`: `event_too_large`, `too_many_events` or `unstorable_text`.
    """
    if len(decided) > MAX_EVENTS:
        raise Rejection("too_many_events", f"the command causes {len(decided)} events; at most {MAX_EVENTS} may come of one")
    events = []
    for ordinal, event in enumerate(decided):
        envelope = _enveloped(command, event, ordinal, version + ordinal + 1, previous)
        previous = envelope.hash
        events.append(envelope)
    return tuple(events)


def _enveloped(command: CommandEnvelope, event: Any, ordinal: int, version: int, previous: str) -> EventEnvelope:
    kind = type(event).__name__
    payload = to_json(event)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Rejection("event_too_large", f"{kind} would take {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} are stored")
    envelope = EventEnvelope(
        event_id=derived_id(command.command_id, str(ordinal)),
        type=kind,
        schema_version=TABLE[kind][0],
        stream=command.stream,
        version=version,
        payload=payload,
        actor=command.actor,
        on_behalf_of=command.on_behalf_of,
        time=command.time,
        command_id=command.command_id,
        correlation_id=command.correlation_id,
        causation_id=command.causation_id,
        traceparent=command.traceparent,
        previous_hash=previous,
        hash="",
    )
    object.__setattr__(envelope, "hash", hash_of(envelope))  # before anybody has seen it; a second envelope costs as much again
    return envelope

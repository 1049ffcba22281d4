"""What is an event, as it stands in the log?"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.audit.hash_chain import chained_hash
from schemas.actor import Actor
from schemas.attributes import actor_bytes, time_bytes
from schemas.position import Position
from schemas.quickly_made import quickly_made


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class EventEnvelope:
    """An event and where it comes from.

    `payload` is the JSON object exactly as stored: it is what the hash covers, and history is never re-validated when read.
    `version` is the event's number in its stream, from 1. `previous_hash` and `hash` chain the events of one shard and topic.
    """

    event_id: UUID
    type: str
    schema_version: int
    stream: str
    version: int
    payload: bytes
    actor: Actor
    time: datetime
    command_id: UUID
    correlation_id: str
    on_behalf_of: Actor | None = None
    causation_id: UUID | None = None
    traceparent: str | None = None
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event with its position in the log."""

    event: EventEnvelope
    position: Position


def hash_of(event: EventEnvelope) -> str:
    """The hash that `event` must carry, computed from its previous hash and its own fields (see `domain.audit.hash_chain`)."""
    behalf = event.on_behalf_of
    return chained_hash(
        event.previous_hash,
        (
            event.event_id.bytes,
            event.type.encode(),
            b"%d" % event.schema_version,
            event.stream.encode(),
            b"%d" % event.version,
            actor_bytes(event.actor),
            actor_bytes(behalf) if behalf else b"",
            time_bytes(event.time),
            event.command_id.bytes,
            event.correlation_id.encode(),
            event.causation_id.bytes if event.causation_id else b"",
            event.traceparent.encode() if event.traceparent else b"",
            event.payload,
        ),
    )

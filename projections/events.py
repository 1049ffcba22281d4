"""Which events were there? The audit index: every event as it stands in the log, of whatever type, known or not."""

from collections.abc import Iterable

from projections.bulk import Row
from projections.fact import Fact
from projections.projection import Projection, RowPerEvent
from projections.tables import events, stored_time
from schemas.topics import EVENT_TOPICS


def _rows(fact: Fact) -> Iterable[Row]:
    event, position = fact.envelope, fact.position
    behalf = event.on_behalf_of
    row = {
        "event_id": str(event.event_id),
        "stream": event.stream,
        "version": event.version,
        "type": event.type,
        "schema_version": event.schema_version,
        "payload": event.payload.decode(),
        "actor_kind": event.actor.kind,
        "actor_name": event.actor.name,
        "behalf_kind": behalf.kind if behalf else None,
        "behalf_name": behalf.name if behalf else None,
        "time": stored_time(event.time),
        "command_id": str(event.command_id),
        "correlation_id": event.correlation_id,
        "causation_id": str(event.causation_id) if event.causation_id else None,
        "traceparent": event.traceparent,
        "previous_hash": event.previous_hash,
        "hash": event.hash,
        "topic": position.topic,
        "shard": position.shard,
        "offset": position.offset,
    }
    return [row]


EVENTS = Projection("events", EVENT_TOPICS, (RowPerEvent(events, _rows, "refuse"),), revision=1)

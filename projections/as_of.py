"""What did a stream's row look like then? Its events up to there, folded by the projection's own fold; nothing is kept for it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, select

from domain.identity import name_of
from projections.bulk import Row
from projections.fact import Fact
from projections.own_rows import OwnRows
from projections.projection import Projection, RowPerStream
from projections.tables import events
from schemas.actor import Actor
from schemas.event_envelope import EventEnvelope
from schemas.log import Recorded
from schemas.position import Position


def up_to_version(version: int) -> ColumnElement[bool]:
    """The events up to a version of their stream."""
    return events.c.version <= version


def up_to_time(stored: str) -> ColumnElement[bool]:
    """The events up to a moment, written as `stored_time` does."""
    return events.c.time <= stored


def rows_as_of(
    connection: Connection, projection: Projection, streams: Sequence[str], until: ColumnElement[bool]
) -> Mapping[str, Row]:
    """The row that each stream had in the projection's first table once it had taken in the events `until` holds for.

    A stream without any has none. Only an unbroken beginning of a stream counts: a clock that once went back brings no event
    without those before it.
    """
    shape = projection.shapes[0]
    if not isinstance(shape, RowPerStream):
        raise TypeError(f"{projection.name} has no row per stream")
    own, versions = OwnRows(shape.table), dict.fromkeys(streams, 0)
    query = select(events).where(events.c.stream.in_(streams), until).order_by(events.c.stream, events.c.version)
    for row in connection.execute(query).mappings():
        stream = row["stream"]
        if row["version"] == versions[stream] + 1:
            versions[stream] += 1
            shape.fold(own, Fact(_recorded(row)))
    found = {stream: own.get(name_of(stream)) for stream, version in versions.items() if version}
    return {stream: row for stream, row in found.items() if row is not None}


def _recorded(row: Mapping[Any, Any]) -> Recorded:
    behalf = Actor(row["behalf_kind"], row["behalf_name"]) if row["behalf_kind"] else None
    envelope = EventEnvelope(
        event_id=UUID(row["event_id"]),
        type=row["type"],
        schema_version=row["schema_version"],
        stream=row["stream"],
        version=row["version"],
        payload=row["payload"].encode(),
        actor=Actor(row["actor_kind"], row["actor_name"]),
        time=datetime.fromisoformat(row["time"]),
        command_id=UUID(row["command_id"]),
        correlation_id=row["correlation_id"],
        on_behalf_of=behalf,
        causation_id=UUID(row["causation_id"]) if row["causation_id"] else None,
        traceparent=row["traceparent"],
        previous_hash=row["previous_hash"],
        hash=row["hash"],
    )
    return Recorded(Position(row["topic"], row["shard"], row["offset"]), envelope)

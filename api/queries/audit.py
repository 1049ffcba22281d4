"""Which events are there? The audit index, filtered, in order."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, literal, or_, select, tuple_

from api.paging import ALL, Order, Page, Seen
from projections.tables import events

_at = events.c
_BY_TIME = (_at.time, _at.topic, _at.shard, _at.offset)

Place = tuple[Any, ...]
"""Where an event stands in the order of time."""

ORDERS: dict[str, Order] = {"time": Order(_BY_TIME), "-time": Order(_BY_TIME, descending=True)}
"""Over all streams; events of one stream keep their order also where their times are equal."""

_BY_VERSION, _BY_VERSION_DOWN = Order((_at.version,)), Order((_at.version,), descending=True)

STREAM_ORDERS: dict[str, Order] = {
    "version": _BY_VERSION, "-version": _BY_VERSION_DOWN, "time": _BY_VERSION, "-time": _BY_VERSION_DOWN,
}  # fmt: skip
"""Within one stream, where the order of versions is the order of time."""

EXACT: Mapping[str, ColumnElement[Any]] = {
    "stream": _at.stream, "type": _at.type, "actor": _at.actor_name, "correlation_id": _at.correlation_id,
}  # fmt: skip


def listed(
    connection: Connection, page: Page, exact: Mapping[str, str], conditions: list[ColumnElement[bool]], seen: Seen = ALL
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of the events that are seen."""
    query = select(events).where(*(EXACT[name] == value for name, value in exact.items()), *conditions)
    rows, cursor = page.rows_seen(connection, query, seen, lambda row: len(row["payload"]), 4_000_000)
    return [shown(row) for row in rows], cursor


def following(
    connection: Connection, exact: Mapping[str, str], conditions: list[ColumnElement[bool]], place: Place | None, limit: int
) -> tuple[list[dict[str, Any]], Place | None]:
    """The next events over all streams by time, and the place after them; None when these were the last."""
    query = select(events).where(*(EXACT[name] == value for name, value in exact.items()), *conditions)
    if place is not None:
        query = query.where(tuple_(*_BY_TIME) > tuple_(*(literal(v, c.type) for v, c in zip(place, _BY_TIME, strict=True))))
    rows = [dict(row) for row in connection.execute(query.order_by(*_BY_TIME).limit(limit)).mappings()]
    after = tuple(rows[-1][str(column.key)] for column in _BY_TIME) if len(rows) == limit else None
    return [shown(row) for row in rows], after


def one(connection: Connection, event_id: str, seen: Sequence[ColumnElement[bool]]) -> dict[str, Any] | None:
    """One event, if it is seen."""
    row = connection.execute(select(events).where(_at.event_id == event_id, *seen)).mappings().one_or_none()
    return shown(row) if row else None


def of_command(connection: Connection, command_id: str) -> Mapping[str, Any] | None:
    """The last event that a command caused."""
    query = select(events).where(_at.command_id == command_id).order_by(_at.version.desc()).limit(1)
    row = connection.execute(query).mappings().one_or_none()
    return dict(row) if row else None


def containing(text: str) -> ColumnElement[bool]:
    """Whether `text` occurs in an event, whatever its case; nothing in it has a meaning of its own."""
    places = (_at.stream, _at.type, _at.actor_name, _at.payload)
    return or_(*(place.icontains(text, autoescape=True) for place in places))


def shown(row: Mapping[Any, Any]) -> dict[str, Any]:
    """An event as everybody sees it."""
    behalf = {"kind": row["behalf_kind"], "name": row["behalf_name"]} if row["behalf_kind"] else None
    return {
        "id": row["event_id"],
        "type": row["type"],
        "schema_version": row["schema_version"],
        "stream": row["stream"],
        "version": row["version"],
        "actor": {"kind": row["actor_kind"], "name": row["actor_name"]},
        "on_behalf_of": behalf,
        "time": row["time"],
        "correlation_id": row["correlation_id"],
        "causation_id": row["causation_id"],
        "command_id": row["command_id"],
        "position": f"{row['topic']}/{row['shard']}/{row['offset']}",
        "payload": orjson.loads(row["payload"]),
    }

"""Which events came after a place in the log? There is no order over all partitions, so a place is one offset a partition."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, select

from api.queries.audit import EXACT, shown
from projections.tables import events, projection_positions
from schemas.position import Partition
from schemas.topics import EVENT_TOPICS

_at = events.c
_LONGEST = 32_768
_MAX_OFFSET = 10**18

Wanted = tuple[Mapping[str, str], Sequence[ColumnElement[bool]]]
"""The filters, and what the reader may see."""


@dataclass(slots=True)
class Place:
    """The next offset to look at in every partition that has any; it moves on as it is read from."""

    offsets: dict[Partition, int]

    @property
    def text(self) -> str:
        """How it is written as the id of an event."""
        shards: dict[str, dict[str, int]] = {}
        for partition, offset in sorted(self.offsets.items()):
            shards.setdefault(partition.topic, {})[str(partition.shard)] = offset
        return base64.urlsafe_b64encode(orjson.dumps(shards)).rstrip(b"=").decode()

    @classmethod
    def parsed(cls, text: str) -> "Place | None":
        """The place written in `text`; None when there is none written there."""
        try:
            if len(text) > _LONGEST:
                return None
            written = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
            offsets = {Partition(topic, int(shard)): at for topic, shards in written.items() for shard, at in shards.items()}
        except (binascii.Error, ValueError, AttributeError):
            return None
        known = all(type(at) is int and 0 <= at < _MAX_OFFSET and p.topic in EVENT_TOPICS for p, at in offsets.items())
        return cls(offsets) if known else None


def end(connection: Connection) -> Place:
    """The place after everything the audit index has seen."""
    return Place(_seen(connection))


def after(connection: Connection, wanted: Wanted, place: Place, limit: int) -> Sequence[tuple[str, dict[str, Any]]]:
    """The next events that are wanted, at most `limit` a partition, each with the place after it; `place` moves there.

    Those of one partition come in their order, those of several by their times.
    """
    found, passed = list[list[Mapping[str, Any]]](), dict[Partition, int]()
    for partition, until in _seen(connection).items():
        begin = place.offsets.get(partition, 0)
        if until > begin:
            rows = _rows(connection, wanted, partition, (begin, until), limit)
            passed[partition] = rows[-1]["offset"] + 1 if len(rows) == limit else until
            found.append(rows)
    came = []
    for row in merge(*found, key=lambda row: str(row["time"])):  # keeps the order within each, also where a clock went back
        place.offsets[Partition(row["topic"], row["shard"])] = row["offset"] + 1
        came.append((place.text, shown(row)))
    place.offsets.update(passed)
    return came


def _rows(
    connection: Connection, wanted: Wanted, partition: Partition, between: tuple[int, int], limit: int
) -> list[Mapping[str, Any]]:
    where = [_at.topic == partition.topic, _at.shard == partition.shard, _at.offset >= between[0], _at.offset < between[1]]
    filters, seen = wanted
    where += [*(EXACT[name] == value for name, value in filters.items()), *seen]
    query = select(events).where(*where).order_by(_at.offset).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]


def _seen(connection: Connection) -> dict[Partition, int]:
    """How far the audit index is, in one snapshot with its rows."""
    of = projection_positions.c
    rows = connection.execute(select(of.topic, of.shard, of.next_offset).where(of.projection == "events"))
    return {Partition(row.topic, row.shard): row.next_offset for row in rows}

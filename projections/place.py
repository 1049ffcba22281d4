"""Where is a projection, and what does one transaction take it to the next place with?

Rows and positions are written in the same transaction, and only if the positions still are what the writer thinks: so every
record takes effect exactly once, whatever is retried and whoever else writes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Connection, Update, bindparam, select, update

from projections.fact import Fact
from projections.projection import Projection, Tables
from projections.tables import projection_positions, projection_status, stored_time
from schemas.position import Partition


class PositionsMoved(Exception):
    """Somebody else, or an earlier try whose commit seemed to fail, has moved the positions: read them again."""


@dataclass(eq=False, slots=True)
class Place:
    """A projection with the tables it is written to and the next offset it reads in each of its partitions.

    `name` is the name its positions are kept under; a generation under construction has one of its own.
    """

    projection: Projection
    name: str
    tables: Tables
    positions: dict[Partition, int]

    def reads(self, partition: Partition) -> bool:
        """Whether the projection reads this partition."""
        return partition in self.positions


def advance(connection: Connection, places: Sequence[Place], facts: Sequence[Fact], after: Mapping[Partition, int]) -> None:
    """Project `facts` and move all `places` to `after`; where their partitions overlap they must stand at the same offset.

    1. claim the positions (this also keeps any other writer out until the commit)
    2. write the rows
    3. note the time of the last event

    Raises `PositionsMoved`, and whatever a projection or the database has against a fact.
    """
    for partition, next_offset in after.items():
        readers = [place for place in places if place.reads(partition)]
        if readers and readers[0].positions[partition] != next_offset:
            _claim(connection, readers, partition, next_offset)
    for place in places:
        own = [fact for fact in facts if fact.partition in place.positions]
        if own:
            for shape in place.projection.shapes:
                shape.write(connection, place.tables, own)
    _note_times(connection, places, facts)


def have_arrived(connection: Connection, places: Sequence[Place], after: Mapping[Partition, int]) -> bool:
    """Whether all `places` stand at `after` in the database, wherever they stand in memory."""
    kept = projection_positions.c
    names = [place.name for place in places]
    rows = connection.execute(select(projection_positions).where(kept.projection.in_(names))).all()
    reached = {(row.projection, Partition(row.topic, row.shard)): row.next_offset for row in rows}
    return all(
        reached.get((place.name, partition)) == after.get(partition, offset)
        for place in places
        for partition, offset in place.positions.items()
    )


@lru_cache(maxsize=1)
def _move() -> Update:
    kept = projection_positions.c
    at = (kept.topic == bindparam("at_topic"), kept.shard == bindparam("at_shard"))
    mine = kept.projection.in_(bindparam("names", expanding=True))
    return (
        update(projection_positions)
        .where(*at, mine, kept.next_offset == bindparam("before"))
        .values(next_offset=bindparam("after"))
    )


def _claim(connection: Connection, readers: Sequence[Place], partition: Partition, next_offset: int) -> None:
    moved = connection.execute(
        _move(),
        {
            "at_topic": partition.topic,
            "at_shard": partition.shard,
            "names": [place.name for place in readers],
            "before": readers[0].positions[partition],
            "after": next_offset,
        },
    )
    if moved.rowcount != len(readers):
        raise PositionsMoved(f"{partition.topic}/{partition.shard}: {moved.rowcount} of {len(readers)} as expected")


@lru_cache(maxsize=1)
def _note() -> Update:
    kept = projection_status.c
    mine = kept.projection.in_(bindparam("names", expanding=True))
    return update(projection_status).where(mine).values(last_event_at=bindparam("at"))


def _note_times(connection: Connection, places: Sequence[Place], facts: Sequence[Fact]) -> None:
    latest: dict[str, datetime] = {}
    for fact in facts:
        if (time := fact.time) is not None:
            topic = fact.position.topic
            latest[topic] = max(latest.get(topic, time), time)
    noted: dict[datetime, list[str]] = {}
    for place in places:
        times = [latest[topic] for topic in place.projection.topics if topic in latest]
        if times:
            noted.setdefault(max(times), []).append(place.name)
    for at, names in noted.items():
        connection.execute(_note(), {"names": names, "at": stored_time(at)})

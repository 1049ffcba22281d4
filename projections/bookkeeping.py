"""What do the projections remember of themselves: positions, states, wishes to be rebuilt?"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from projections.generation import NEXT, drop_next, live_tables
from projections.place import Place
from projections.projection import Projection
from projections.tables import projection_positions, projection_status
from schemas.position import Partition

_REQUESTED = select(projection_status.c.projection).where(projection_status.c.rebuild_requested)
_STATUS = select(projection_status).where(projection_status.c.projection == bindparam("name"))
_GENERATION = select(projection_status.c.generation).where(projection_status.c.projection == bindparam("name"))
_POSITIONS = select(projection_positions).where(projection_positions.c.projection == bindparam("name"))
_FORGET = delete(projection_positions).where(projection_positions.c.projection == bindparam("name"))
_BEGIN = insert(projection_positions)
"""Asked all the time, and made once: making a statement takes longer than answering it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A projection as it was found: its place, whether its tables are of this version of the code, and what is asked of it."""

    place: Place
    generation: int
    stopped: bool
    outdated: bool
    rebuild_requested: bool


def partitions_of(topics: Iterable[str], shards: int) -> list[Partition]:
    """Every partition of these topics."""
    return [Partition(topic, shard) for topic in topics for shard in range(shards)]


def open_all(connection: Connection, projections: Sequence[Projection], shards: int) -> list[Opened]:
    """Every projection as it stands; one never seen before begins at the start. Remains of unfinished rebuilds are dropped."""
    return [_open(connection, projection, shards) for projection in projections]


def _open(connection: Connection, projection: Projection, shards: int) -> Opened:
    drop_next(connection, projection)
    forget_positions(connection, projection.name + NEXT)
    found = connection.execute(_STATUS, {"name": projection.name}).mappings().one_or_none()
    row = _first_status(projection) if found is None else found
    if found is None:
        connection.execute(insert(projection_status), [dict(row)])
    place = Place(projection, projection.name, live_tables(projection), positions_of(connection, projection.name))
    _add_positions(connection, place, partitions_of(projection.topics, shards))
    return Opened(
        place,
        row["generation"],
        row["state"] == "stopped",
        row["schema"] != projection.fingerprint,
        row["rebuild_requested"],
    )


def _first_status(projection: Projection) -> Mapping[str, Any]:
    return {
        "projection": projection.name,
        "generation": 1,
        "schema": projection.fingerprint,
        "state": "live",
        "rebuild_requested": False,
    }


def positions_of(connection: Connection, name: str) -> dict[Partition, int]:
    """The next offset in each partition, as kept under `name`."""
    rows = connection.execute(_POSITIONS, {"name": name})
    return {Partition(row.topic, row.shard): row.next_offset for row in rows}


def _add_positions(connection: Connection, place: Place, partitions: Collection[Partition]) -> None:
    unknown = {partition: 0 for partition in partitions if partition not in place.positions}
    place.positions.update(unknown)
    _write_positions(connection, place.name, unknown)


def _write_positions(connection: Connection, name: str, positions: Mapping[Partition, int]) -> None:
    """Begin to keep positions."""
    rows = [{"projection": name, "topic": p.topic, "shard": p.shard, "next_offset": at} for p, at in positions.items()]
    if rows:
        connection.execute(_BEGIN, rows)


def forget_positions(connection: Connection, name: str) -> None:
    """Keep no positions under `name` any more."""
    connection.execute(_FORGET, {"name": name})


def take_positions(connection: Connection, name: str, positions: Mapping[Partition, int]) -> None:
    """Make `positions` those of `name`, whatever they were."""
    forget_positions(connection, name)
    _write_positions(connection, name, positions)


def set_status(connection: Connection, projection: str, values: Mapping[str, Any]) -> None:
    """Change what the status says of one projection."""
    connection.execute(update(projection_status).where(projection_status.c.projection == projection).values(values))


def generation_of(connection: Connection, projection: str) -> int:
    """The generation of the live tables."""
    return int(connection.execute(_GENERATION, {"name": projection}).scalar_one())


def requested_rebuilds(connection: Connection) -> frozenset[str]:
    """The projections somebody wants rebuilt."""
    return frozenset(connection.execute(_REQUESTED).scalars())

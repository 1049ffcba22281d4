"""How is a read model built anew while it goes on serving?

Beside the live tables: empty tables of the next generation are filled from the start of the log, at their own positions, until
they stand where the live projections stand. Then one transaction renames them into place. A reader sees the old rows or the
new, never an error; if the rebuild ends early, for whatever reason, the old tables go on serving and the next try starts clean.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from sqlalchemy import Connection

from projections.bookkeeping import forget_positions, generation_of, partitions_of, positions_of, set_status, take_positions
from projections.generation import NEXT, create_next, drop_next, live_tables, swap
from projections.persistence import Persistent
from projections.place import Place, PositionsMoved
from projections.projection import Projection
from projections.tables import projection_status
from schemas.position import Partition

_NOT_REBUILDING: Mapping[str, Any] = {"rebuild_requested": False, "rebuild_done": None, "rebuild_total": None}


def ask_for_rebuild(connection: Connection, name: str) -> bool:
    """Note that `name` is to be rebuilt; the process that runs the projections carries it out. False: no such projection yet."""
    kept = projection_status
    wished = kept.update().where(kept.c.projection == name).values(rebuild_requested=True)
    return connection.execute(wished).rowcount == 1


async def begin_rebuild(projection: Projection, generation: int, shards: int, store: Persistent) -> Place:
    """Make empty tables of `generation` beside the live ones; the place that fills them, at the start of the log."""
    positions = dict.fromkeys(partitions_of(projection.topics, shards), 0)

    def work(connection: Connection) -> Place:
        tables = create_next(connection, projection, generation)
        take_positions(connection, projection.name + NEXT, positions)
        set_status(connection, projection.name, {"rebuild_requested": True, "rebuild_done": 0, "rebuild_total": None})
        return Place(projection, projection.name + NEXT, tables, positions)

    return await store.transact(work)


async def note_progress(place: Place, front: Mapping[Partition, int], store: Persistent) -> None:
    """Say how far the rebuild is, in offsets."""
    total = sum(front[partition] for partition in place.positions)
    progress = {"rebuild_done": sum(place.positions.values()), "rebuild_total": total}
    await store.transact(partial(set_status, projection=place.projection.name, values=progress))


async def put_in_place(place: Place, generation: int, store: Persistent) -> Place:
    """Swap the built tables in, with their positions, in one transaction; the live place from now on.

    Raises `StoreUnavailable` when readers hold the old tables too long (go on, and try again), and `PositionsMoved`.
    """
    projection = place.projection

    def work(connection: Connection) -> Place:
        live = Place(projection, projection.name, live_tables(projection), dict(place.positions))
        if generation_of(connection, projection.name) == generation:
            return live  # it was done before, by a commit whose answer was lost
        if positions_of(connection, place.name) != place.positions:
            raise PositionsMoved(f"{place.name} is not where it was left")
        swap(connection, projection)
        take_positions(connection, projection.name, place.positions)
        forget_positions(connection, place.name)
        set_status(
            connection,
            projection.name,
            {
                "generation": generation,
                "schema": projection.fingerprint,
                "state": "live",
                "stopped_at": None,
                "error": None,
                **_NOT_REBUILDING,
            },
        )
        return live

    return await store.try_once(work)


async def give_up(projection: Projection, is_live: bool, store: Persistent) -> None:
    """Drop what was built; the live tables go on serving, and go on growing if the projection `is_live`."""

    def work(connection: Connection) -> None:
        drop_next(connection, projection)
        forget_positions(connection, projection.name + NEXT)
        set_status(connection, projection.name, _NOT_REBUILDING if is_live else {**_NOT_REBUILDING, "state": "stopped"})

    await store.transact(work)

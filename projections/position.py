"""How far are the read models? Asked by the API for fresh answers and by people for the state of things."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Select, Table, bindparam, select, tuple_

from domain.identity import CREDENTIAL, JOB, KEY, ROLE, RUN, TARGET, USER, kind_of, name_of
from projections.all import BY_NAME
from projections.tables import (
    credentials,
    events,
    jobs,
    projection_positions,
    projection_status,
    roles,
    runs,
    targets,
    users,
)
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.topics import EVENT_TOPIC

_at, _of = events.c, projection_positions.c

_REACHED = select(_of.topic, _of.shard, _of.next_offset).where(
    _of.projection == bindparam("name"), tuple_(_of.topic, _of.shard).in_(bindparam("partitions", expanding=True))
)


def _applied(shows: Table | None) -> Select[int]:
    """Where a projection is, if it has passed a version of a stream that has its row in the table `shows`.

    Where the version lies the audit index says; that the row is there or further, is as good. So neither of the two stops more
    than itself when it meets a record it cannot take.
    """
    event = select(_at.offset).where(_at.stream == bindparam("of_stream"), _at.version == bindparam("of_version"))
    passed = _of.next_offset > event.scalar_subquery()
    if shows is not None:
        (key,) = shows.primary_key.columns
        row = select(shows.c.offset).where(key == bindparam("of_name"), shows.c.version >= bindparam("of_version"))
        passed = (_of.next_offset > row.scalar_subquery()) | passed
    of = (_of.projection == bindparam("name"), _of.topic == bindparam("topic"), _of.shard == bindparam("shard"))
    return select(_of.next_offset).where(*of, passed)


_APPLIED = {
    kind: _applied(shows)
    for kind, shows in {
        TARGET: targets, CREDENTIAL: credentials, USER: users, ROLE: roles, JOB: jobs, RUN: runs, KEY: None,
    }.items()
}  # fmt: skip
"""By aggregate type. Asked with every fresh read, and made once: making a statement takes longer than answering it."""


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """How one projection is: `live`, `stopped` (where and why) or `rebuilding` (`done` of `total` offsets; still serving).

    `lag_events` are offsets still to be read (on Kafka they include the log's own markers); `lag_seconds` is the age of the
    last event projected while there are any, else 0. `rebuild_requested` until a rebuild is in place or given up (`error`).
    """

    name: str
    state: str
    generation: int
    positions: Mapping[Partition, int]
    lag_events: int
    lag_seconds: float
    stopped_at: str | None
    error: str | None
    rebuild_requested: bool
    rebuild_done: int | None
    rebuild_total: int | None


def has_reached(connection: Connection, projection: str, positions: Mapping[Partition, int]) -> bool:
    """Whether `projection` has read everything before these offsets, in those of the partitions that it reads at all.

    Raises `KeyError` for a projection that does not exist.
    """
    wanted = {p: offset for p, offset in positions.items() if p.topic in BY_NAME[projection].topics and offset > 0}
    if not wanted:
        return True
    rows = connection.execute(_REACHED, {"name": projection, "partitions": [(p.topic, p.shard) for p in wanted]})
    reached = {Partition(row.topic, row.shard): row.next_offset for row in rows}
    return all(reached.get(partition, 0) >= offset for partition, offset in wanted.items())


def version_applied(connection: Connection, projection: str, stream: str, version: int, shards: int) -> bool:
    """Whether `projection` has taken in `version` of `stream`. False also for a version that neither the audit index nor the
    stream's own row tells of.
    """
    kind = kind_of(stream)
    asked = {"name": projection, "topic": EVENT_TOPIC[kind], "shard": shard_of(stream, shards)}
    of = {"of_stream": stream, "of_name": name_of(stream), "of_version": version}
    return connection.execute(_APPLIED[kind], asked | of).first() is not None


def status(connection: Connection, ends: Mapping[Partition, int], now: datetime) -> list[ProjectionStatus]:
    """Every projection's status, by name; `ends` are the log's ends (`EventReader.ends`)."""
    positions: dict[str, dict[Partition, int]] = {}
    for row in connection.execute(select(projection_positions)):
        positions.setdefault(row.projection, {})[Partition(row.topic, row.shard)] = row.next_offset
    kept = connection.execute(select(projection_status).order_by(projection_status.c.projection)).mappings()
    return [_status(dict(row), positions.get(row["projection"], {}), ends, now) for row in kept]


def _status(
    row: Mapping[str, object], positions: Mapping[Partition, int], ends: Mapping[Partition, int], now: datetime
) -> ProjectionStatus:
    lag = sum(max(0, ends[p] - offset) for p, offset in positions.items() if p in ends)
    last = row["last_event_at"]
    age = (now - datetime.fromisoformat(str(last))).total_seconds() if lag and last else 0.0
    rebuilding = row["rebuild_done"] is not None and row["state"] == "live"
    return ProjectionStatus(
        name=str(row["projection"]),
        state="rebuilding" if rebuilding else str(row["state"]),
        generation=int(str(row["generation"])),
        positions=positions,
        lag_events=lag,
        lag_seconds=max(0.0, age),
        stopped_at=_text(row["stopped_at"]),
        error=_text(row["error"]),
        rebuild_requested=bool(row["rebuild_requested"]),
        rebuild_done=_number(row["rebuild_done"]),
        rebuild_total=_number(row["rebuild_total"]),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _number(value: object) -> int | None:
    return None if value is None else int(str(value))

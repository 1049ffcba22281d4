"""Which runs are there, and what became of their steps?"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, select

from api.as_of import Then
from api.paging import Order, Page, Seen
from domain.identity import RUN, stream_of
from domain.run.state import FINAL
from projections.tables import run_steps, runs
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.topics import EVENT_TOPIC, RUN_OUTPUT

MASK = "***"

ORDERS: dict[str, Order] = {
    "requested_at": Order((runs.c.requested_at, runs.c.id)),
    "-requested_at": Order((runs.c.requested_at, runs.c.id), descending=True),
}

STEP_ORDERS: dict[str, Order] = {
    "target": Order((run_steps.c.target, run_steps.c.step_index, run_steps.c.attempt)),
    "-target": Order((run_steps.c.target, run_steps.c.step_index, run_steps.c.attempt), descending=True),
}

_SHOWN = (
    "id", "job", "revision", "state", "ending", "requested_by", "reason", "cancelled_by", "cancel_reason", "selector",
    "waits_for", "error", "executor", "correlation_id", "requested_at", "started_at", "finished_at", "version",
)  # fmt: skip
_STEP_SHOWN = ("step", "target", "attempt", "state", "exit_code", "started_at", "finished_at", "error")

FILTERS = ("job", "state", "requested_by")

_ONE = select(runs).where(runs.c.id == bindparam("run"))
"""Asked again and again by whoever waits for a run, and made once."""


def then(filters: Mapping[str, str], time: str, seen: Seen) -> Then:
    """The runs that were like this then, of those that are seen."""
    kept = (runs.c[name] == value for name, value in filters.items() if name != "state")
    query = select(runs.c.id, runs.c.requested_at).where(runs.c.requested_at <= time, *kept)
    return Then(RUN, "id", query, lambda row: filters.get("state", row["state"]) == row["state"], seen)


def listed(
    connection: Connection, page: Page, filters: Mapping[str, str], seen: Seen
) -> tuple[list[Mapping[str, Any]], str | None]:
    """The rows of one page of the runs that are seen."""
    query = select(runs).where(*(runs.c[name] == value for name, value in filters.items()))
    return page.rows_seen(connection, query, seen)


def row_of(connection: Connection, run: str) -> Mapping[str, Any] | None:
    """A run's row."""
    row = connection.execute(_ONE, {"run": run}).mappings().one_or_none()
    return dict(row) if row else None


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A run as who sees it all sees it: sealed values as a mask, its targets counted by state, where that is known of all."""
    values = {name: MASK if isinstance(value, Mapping) else value for name, value in row["parameters"].items()}
    ended = {**dict.fromkeys(_COUNTED, 0), **row["counts"]} if row["counts"] is not None else {}
    return {**{name: row[name] for name in _SHOWN}, "parameters": values, "targets": {"total": row["total"], **ended}}


_COUNTED = ("succeeded", "failed", "skipped", "cancelled", "timed_out", "lost", "unreachable")


def completeness(rows: Iterable[Mapping[str, Any]], shards: int) -> tuple[dict[Partition, int], dict[Partition, int]]:
    """How far `run_steps` and `run_output` must have read for the final runs among `rows` to be complete in them."""
    steps: dict[Partition, int] = {}
    output: dict[Partition, int] = {}
    for row in rows:
        if row["state"] in FINAL:
            shard = shard_of(stream_of(RUN, row["id"]), shards)
            events, chunks = Partition(EVENT_TOPIC[RUN], shard), Partition(RUN_OUTPUT, shard)
            steps[events] = max(steps.get(events, 0), row["offset"] + 1)
            output[chunks] = max(output.get(chunks, 0), row["output_end"])
    return steps, output


def steps(
    connection: Connection, page: Page, run: str, filters: Mapping[str, str], seen: ColumnElement[bool]
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of a run's steps, of those that are seen."""
    at = run_steps.c
    query = select(run_steps).where(at.run == run, seen, *(at[name] == value for name, value in filters.items()))
    rows, cursor = page.rows(connection, query)
    return [{name: row[name] for name in _STEP_SHOWN} for row in rows], cursor

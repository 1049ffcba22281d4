"""What is shown of a run to who sees only a part of it? Not how many targets are beyond the caller's limit nor how they ended,
nor that it waits for runs which the caller does not see.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from api.call import Caller
from api.queries.seen import Columns, limits_targets, run_seen, seen
from projections.tables import run_steps, runs

Row = Mapping[str, Any]
_READ, _AT_ONCE = "runs.read", 500


def is_seen_in_part(caller: Caller) -> bool:
    """Whether there may be runs of which the caller sees a part only."""
    return limits_targets(caller, _READ)


def as_seen(connection: Connection, caller: Caller, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows of runs that are seen, as the caller sees them. Of one that is planned on targets beyond the limit, too, `total`
    counts the others, and `counts` is None: it tells how all of them ended. Why it was cancelled may name another run.
    """
    if not is_seen_in_part(caller):
        return rows
    number = _targets_seen(connection, caller, {row["id"] for row in rows if row["total"]})
    known = _runs_seen(connection, caller, {run for row in rows for run in row["waits_for"]})
    return [_as_seen(row, number.get(row["id"], 0), known) for row in rows]


def _as_seen(row: Row, number: int, known: Collection[str]) -> Row:
    found = {**row, "waits_for": [run for run in row["waits_for"] if run in known]}
    return found if number >= row["total"] else {**found, "total": number, "counts": None, "cancel_reason": None}


def _runs_seen(connection: Connection, caller: Caller, idents: Collection[str]) -> set[str]:
    found, is_seen = set[str](), run_seen(caller, _READ, runs.c.id)
    for some in _some(idents):
        found.update(connection.execute(select(runs.c.id).where(runs.c.id.in_(some), is_seen)).scalars())
    return found


def _targets_seen(connection: Connection, caller: Caller, idents: Collection[str]) -> Mapping[str, int]:
    """On how many targets that the caller sees each of these runs is planned, of which the steps are in the read model."""
    run, found = run_steps.c.run, dict[str, int]()
    first = (run_steps.c.step_index == 0, run_steps.c.attempt == 1)  # every target has one such
    within = seen(caller, _READ, Columns(run=run, target=run_steps.c.target))
    for some in _some(idents):
        counted = select(run, func.count().label("number")).where(run.in_(some), *first, within).group_by(run)
        found |= {row.run: row.number for row in connection.execute(counted)}
    return found


def _some(idents: Collection[str]) -> Iterator[list[str]]:
    listed = sorted(idents)
    return (listed[begin : begin + _AT_ONCE] for begin in range(0, len(listed), _AT_ONCE))

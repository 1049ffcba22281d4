"""What did a run's steps write? Paged by target and step, or by time, or followed as it comes."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, select

from api.paging import Order, Page
from projections.tables import run_output

_at = run_output.c
_PLACE = (_at.target, _at.step_index, _at.attempt, _at.sequence)

ORDERS: dict[str, Order] = {"target": Order(_PLACE), "time": Order((_at.time, *_PLACE))}
FILTERS = ("target", "step", "stream")
MAX_PAGE_CHARS = 4_000_000
"""A page ends early rather than hold much more text than this."""

_SHOWN = ("target", "step", "attempt", "stream", "sequence", "time", "text")


def listed(
    connection: Connection, page: Page, run: str, filters: Mapping[str, str], seen: ColumnElement[bool]
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of a run's output, of what is seen of it."""
    rows, cursor = page.rows(
        connection, _of(run, filters).where(seen), weight=lambda row: len(row["text"]), heaviest=MAX_PAGE_CHARS
    )
    return [_shown(row) for row in rows], cursor


def after(
    connection: Connection, of: tuple[str, Mapping[str, str], ColumnElement[bool]], offset: int, limit: int
) -> list[tuple[int, dict[str, Any]]]:
    """The next pieces `of` a run that pass the filters and are seen, in the order they came, each with its offset in the log."""
    run, filters, seen = of
    query = _of(run, filters).where(seen, _at.offset > offset).order_by(_at.offset).limit(limit)
    return [(row["offset"], _shown(row)) for row in connection.execute(query).mappings()]


def _of(run: str, filters: Mapping[str, str]) -> Select[Any]:
    return select(run_output).where(_at.run == run, *(_at[name] == value for name, value in filters.items()))


def _shown(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _SHOWN}

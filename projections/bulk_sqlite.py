"""How do many rows go to SQLite with one statement, and come from it as one text each?

Python's SQLite gives up the interpreter for each row it takes and for each column it hands out. In a process with a hundred other
threads that is what a batch waited for, column after column.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import Connection, Dialect, FromClause, LargeBinary, Numeric, Select, Table, func, select
from sqlalchemy.sql.dml import Insert

Convert = Callable[[Any], Any]

ROWS_AT_ONCE = 50
"""Times the columns, which are thirty at most, it stays far below the 32,766 parameters that SQLite takes."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How values are converted; every engine has a dialect of its own, and all of one name convert alike here."""

    name: str
    dialect: Dialect = field(compare=False)


def _way(connection: Connection) -> _Way:
    return _Way(connection.dialect.name, connection.dialect)


@lru_cache(maxsize=256)
def _readers(table: Table, way: _Way) -> Sequence[tuple[str, Convert | None]]:
    """Each column's name, and what makes a value of what SQLite keeps of it."""
    if unfit := [column.name for column in table.columns if isinstance(column.type, Numeric | LargeBinary)]:
        raise TypeError(f"{table.name}: SQLite's JSON does not keep every bit of {', '.join(unfit)}")
    kinds = [(column.name, column.type.dialect_impl(way.dialect)) for column in table.columns]
    return [(name, kind.result_processor(way.dialect, None)) for name, kind in kinds]


@lru_cache(maxsize=256)
def _writers(table: Table, way: _Way) -> Sequence[tuple[str, Convert | None]]:
    """The other way round."""
    kinds = [(column.name, column.type.dialect_impl(way.dialect)) for column in table.columns]
    return [(name, kind.bind_processor(way.dialect)) for name, kind in kinds]


def select_packed(table: Table, *, of: FromClause | None = None) -> Select[Any]:
    """Whole rows of `table`, each as one text, to be read by `unpacked`; of a join that holds it where that is given."""
    packed = select(func.json_array(*table.columns))
    return packed.select_from(table if of is None else of)


def unpacked(connection: Connection, table: Table, found: Iterable[str]) -> list[dict[str, Any]]:
    """The rows that `select_packed` found."""
    readers = _readers(table, _way(connection))
    rows = []
    for each in found:
        values = zip(readers, orjson.loads(each), strict=True)
        rows.append({name: read(value) if read is not None else value for (name, read), value in values})
    return rows


@lru_cache(maxsize=256)
def _of_some(statement: Insert, table: Table, way: _Way, count: int) -> str:
    """The SQL that inserts so many rows; SQLAlchemy would make it anew each time, which takes longer than to run it."""
    one = str(statement.compile(dialect=way.dialect, column_keys=[column.name for column in table.columns]))
    places = f"({', '.join('?' * len(table.columns))})"
    head, values, tail = one.partition(f"VALUES {places}")
    if not values:
        raise ValueError(f"no insert of all columns of {table.name}: {one}")
    return head + values + f", {places}" * (count - 1) + tail


def insert_many(connection: Connection, statement: Insert, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert whole rows, many with one statement; `statement` says what becomes of those whose key is there."""
    way = _way(connection)
    writers = _writers(table, way)
    for at in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[at : at + ROWS_AT_ONCE]
        values = tuple([write(row[name]) if write is not None else row[name] for row in some for name, write in writers])
        connection.exec_driver_sql(_of_some(statement, table, way, len(some)), values)

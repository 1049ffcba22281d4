"""How are many rows read and written at once? A few statements a batch, the same on Postgres and SQLite."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BindParameter, Connection, Delete, Select, Table, bindparam, delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.elements import ColumnElement

Row = dict[str, Any]
Key = tuple[Any, ...]


def key_columns(table: Table) -> tuple[str, ...]:
    """The names of a table's key columns, in their order."""
    return tuple(column.name for column in table.primary_key.columns)


def _insert(table: Table, dialect: str) -> Any:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def _below(table: Table, length: int) -> ColumnElement[bool]:
    columns = list(table.primary_key.columns)[:length]
    keys: BindParameter[Any] = bindparam("keys", expanding=True)
    return columns[0].in_(keys) if length == 1 else tuple_(*columns).in_(keys)


@lru_cache(maxsize=256)
def _select(table: Table, length: int) -> Select[Any]:
    return select(table).where(_below(table, length))


@lru_cache(maxsize=256)
def _delete(table: Table, length: int) -> Delete:
    return delete(table).where(_below(table, length))


@lru_cache(maxsize=256)
def _replacing(table: Table, dialect: str) -> Insert:
    made = _insert(table, dialect)
    keys = key_columns(table)
    changes = {c.name: made.excluded[c.name] for c in table.columns if c.name not in keys}
    replacing: Insert = made.on_conflict_do_update(index_elements=list(keys), set_=changes)
    return replacing


@lru_cache(maxsize=256)
def _adding(table: Table, dialect: str) -> Insert:
    made = _insert(table, dialect)
    keys = key_columns(table)
    sums = {c.name: table.c[c.name] + made.excluded[c.name] for c in table.columns if c.name not in keys}
    adding: Insert = made.on_conflict_do_update(index_elements=list(keys), set_=sums)
    return adding


@lru_cache(maxsize=256)
def _inserting(table: Table, dialect: str, keep_first: bool) -> Insert:
    made = _insert(table, dialect)
    inserting: Insert = made.on_conflict_do_nothing(index_elements=list(key_columns(table))) if keep_first else made
    return inserting


def _bound(keys: Collection[Key], length: int) -> dict[str, list[Any]]:
    return {"keys": [key[0] for key in keys] if length == 1 else list(keys)}


def rows_below(connection: Connection, table: Table, prefixes: Collection[Key]) -> list[Row]:
    """Every row whose key begins with one of `prefixes` (all of one length)."""
    if not prefixes:
        return []
    length = len(next(iter(prefixes)))
    found = connection.execute(_select(table, length), _bound(prefixes, length))
    return [dict(row) for row in found.mappings()]


def delete_below(connection: Connection, table: Table, prefixes: Collection[Key]) -> None:
    """Delete every row whose key begins with one of `prefixes` (all of one length)."""
    if prefixes:
        length = len(next(iter(prefixes)))
        connection.execute(_delete(table, length), _bound(prefixes, length))


def put_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert whole rows, replacing those of the same key."""
    if rows:
        connection.execute(_replacing(table, connection.dialect.name), rows)


def add_to_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add the numbers in `rows` to the rows of the same key, which begin at zero."""
    if rows:
        connection.execute(_adding(table, connection.dialect.name), rows)


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], keep_first: bool) -> None:
    """Insert new rows; one whose key is there already is refused by the database, or passed over with `keep_first`."""
    if rows:
        connection.execute(_inserting(table, connection.dialect.name, keep_first), rows)

"""How are many rows read and written at once? A few statements a batch, the same on Postgres and SQLite."""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, Connection, CursorResult, Delete, Select, Table, and_, bindparam, delete, func, select, true
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from projections.bulk_sqlite import insert_many, select_packed, unpacked

Row = dict[str, Any]
Key = tuple[Any, ...]


def key_columns(table: Table) -> tuple[str, ...]:
    """The names of a table's key columns, in their order."""
    return tuple(column.name for column in table.primary_key.columns)


def _insert(table: Table, dialect: str) -> Any:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


@lru_cache(maxsize=256)
def _select(table: Table, dialect: str) -> Select[Any]:
    whole = select(table) if dialect == "postgresql" else select_packed(table)
    return whole.where(_first(table).in_(bindparam("keys", expanding=True)))


@lru_cache(maxsize=256)
def _select_each_postgres(table: Table, length: int) -> Select[Any]:
    columns = list(table.primary_key.columns)[:length]
    lists = [bindparam(f"key_{at}", type_=postgresql.ARRAY(column.type)) for at, column in enumerate(columns)]
    asked = func.unnest(*lists).table_valued(*[c.name for c in columns], name="asked").render_derived()
    each = select(table).where(*[column == asked.c[column.name] for column in columns]).offset(0).lateral("each")
    return select(each).select_from(asked.join(each, true()))


@lru_cache(maxsize=256)
def _select_each_sqlite(table: Table, length: int) -> Select[Any]:
    columns = list(table.primary_key.columns)[:length]
    asked = func.json_each(bindparam("keys")).table_valued("value", name="asked")
    same = [column == func.json_extract(asked.c.value, f"$[{at}]") for at, column in enumerate(columns)]
    return select_packed(table, of=asked.join(table, and_(*same)))


def _found_each(connection: Connection, table: Table, prefixes: Collection[Key], length: int) -> CursorResult[Any]:
    """One index look-up a prefix. Both databases would read all of the table for a long list of pairs in an `IN`."""
    if connection.dialect.name == "postgresql":
        lists = {f"key_{at}": list(parts) for at, parts in enumerate(zip(*prefixes, strict=True))}
        return connection.execute(_select_each_postgres(table, length), lists)
    return connection.execute(_select_each_sqlite(table, length), {"keys": json.dumps(list(prefixes))})


@lru_cache(maxsize=256)
def _delete(table: Table) -> Delete:
    return delete(table).where(_first(table).in_(bindparam("keys", expanding=True)))


def _first(table: Table) -> Column[Any]:
    return next(iter(table.primary_key.columns))


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


def rows_below(connection: Connection, table: Table, prefixes: Collection[Key]) -> list[Row]:
    """Every row whose key begins with one of `prefixes` (all of one length)."""
    if not prefixes:
        return []
    length = len(next(iter(prefixes)))
    if length == 1:
        found = connection.execute(_select(table, connection.dialect.name), {"keys": [key[0] for key in prefixes]})
    else:
        found = _found_each(connection, table, prefixes, length)
    if connection.dialect.name == "postgresql":
        return [dict(row) for row in found.mappings()]
    return unpacked(connection, table, found.scalars())


def delete_of(connection: Connection, table: Table, owners: Collection[str]) -> None:
    """Delete every row whose key's first part is one of `owners`."""
    if owners:
        connection.execute(_delete(table), {"keys": list(owners)})


def put_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert whole rows, replacing those of the same key."""
    if rows:
        _executed(connection, _replacing(table, connection.dialect.name), table, rows)


def add_to_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add the numbers in `rows` to the rows of the same key, which begin at zero."""
    if rows:
        _executed(connection, _adding(table, connection.dialect.name), table, rows)


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], keep_first: bool) -> None:
    """Insert new rows; one whose key is there already is refused by the database, or passed over with `keep_first`."""
    if rows:
        _executed(connection, _inserting(table, connection.dialect.name, keep_first), table, rows)


def _executed(connection: Connection, statement: Insert, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(statement, rows)
    else:
        insert_many(connection, statement, table, rows)

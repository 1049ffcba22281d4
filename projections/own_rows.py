"""Which rows has a stream, as its events of this batch leave them? Loaded once, folded in memory, written once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Table, update

from projections.bulk import Key, Row, delete_of, key_columns, put_rows, rows_below


@dataclass(frozen=True, slots=True)
class _Change:
    """All rows of `owner` in which `column` equals `value` get `changed` there instead."""

    owner: str
    column: str
    value: Any
    changed: Any


class OwnRows:
    """A table's rows of the streams in one batch, by key; a key's first part names the stream's aggregate.

    Rows not loaded beforehand can be put, cleared and changed, but not got. `write` leaves the table as if every call had
    been carried out on it at once, in order: deletes, then changes of rows nobody looked at, then the rows in memory.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._key = key_columns(table)
        self._rows: dict[Any, dict[Key, Row]] = defaultdict(dict)
        self._under: dict[Key, set[Key]] = defaultdict(set)
        self._put: set[Key] = set()
        self._cleared: set[str] = set()
        self._changes: list[_Change] = []

    def load(self, connection: Connection, prefixes: Iterable[Key]) -> None:
        """Read the rows whose keys begin with `prefixes`, all of one length."""
        for row in rows_below(connection, self._table, sorted(set(prefixes))):
            self._hold(self._key_of(row), row)

    def get(self, *key: Any) -> Row | None:
        """The row under a whole key, among those loaded or put."""
        return self._rows[key[0]].get(key)

    def below(self, *prefix: Any) -> list[Row]:
        """The rows whose key begins with `prefix`, in key order, among those loaded or put."""
        rows = self._rows[prefix[0]]
        keys = rows if len(prefix) == 1 else self._under.get(prefix[:2], ())
        return [rows[key] for key in sorted(keys) if key[: len(prefix)] == prefix]

    def put(self, row: Row) -> None:
        """This row is now what stands under its key."""
        key = self._key_of(row)
        self._hold(key, row)
        self._put.add(key)

    def clear(self, owner: str) -> None:
        """No row of this owner stands any more."""
        gone = self._rows.pop(owner, {})
        self._put.difference_update(gone)
        for key in gone:
            self._under.pop(key[:2], None)
        self._cleared.add(owner)

    def change(self, owner: str, column: str, value: Any, changed: Any) -> None:
        """Every row of this owner in which `column` is `value`, loaded or not, has `changed` there from now on."""
        for row in self._rows[owner].values():
            if row[column] == value:
                self.put({**row, column: changed})
        self._changes.append(_Change(owner, column, value, changed))

    def write(self, connection: Connection) -> None:
        """Bring the table to where the batch leads."""
        delete_of(connection, self._table, sorted(self._cleared))
        for (column, value, changed), group in groupby(self._changes, lambda c: (c.column, c.value, c.changed)):
            self._write_change(connection, {change.owner for change in group}, column, value, changed)
        put_rows(connection, self._table, [self._rows[key[0]][key] for key in sorted(self._put)])

    def _write_change(self, connection: Connection, owners: set[str], column: str, value: Any, changed: Any) -> None:
        columns = self._table.c
        connection.execute(
            update(self._table)
            .where(columns[self._key[0]].in_(sorted(owners)), columns[column] == value)
            .values({column: changed})
        )

    def _hold(self, key: Key, row: Row) -> None:
        self._rows[key[0]][key] = row
        self._under[key[:2]].add(key)

    def _key_of(self, row: Mapping[str, Any]) -> Key:
        return tuple(row[name] for name in self._key)

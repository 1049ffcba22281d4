"""Which part of a list comes next? Keyset cursors, signed and bound to the list, its filters and its order (HAZARDS §4.24)."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Tuple, literal, true, tuple_

from api.problem_details import Problem, wrong

DEFAULT_LIMIT, MAX_LIMIT = 50, 1_000
_MAX_CURSOR = 4_096
_NEAR = 1_000
"""How many rows are asked one after the other whether they are seen, before all that are seen are looked for at once."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order of a list: by these columns, the last of which make it unique, all up or all down."""

    columns: tuple[ColumnElement[Any], ...]
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """Which rows of a list may be seen: as a condition to be asked of each row, and where that takes long, as one that finds all
    rows that are seen, however many others there are. They mean the same.
    """

    each: ColumnElement[bool]
    at_once: ColumnElement[bool] | None = None


ALL = Seen(true())


@dataclass(frozen=True, slots=True)
class Page:
    """What part of which list is asked for; `bound` stands for the list, its filters and its order."""

    order: Order
    limit: int
    after: tuple[Any, ...] | None
    bound: str
    key: bytes

    def rows(
        self,
        connection: Connection,
        query: Select[Any],
        weight: Callable[[Mapping[str, Any]], int] = lambda row: 0,
        heaviest: int = 1,
    ) -> tuple[list[Mapping[str, Any]], str | None]:
        """The page's rows and the cursor of the next page, None on the last; it ends early once it weighs `heaviest`."""
        rows, total = list[Mapping[str, Any]](), 0
        for row in connection.execute(self._from_here(query).limit(self.limit + 1)).mappings():
            if len(rows) == self.limit or total >= heaviest:
                return rows, self.cursor_after(rows[-1])
            rows.append(dict(row))
            total += weight(rows[-1])
        return rows, None

    def rows_seen(
        self,
        connection: Connection,
        query: Select[Any],
        seen: Seen,
        weight: Callable[[Mapping[str, Any]], int] = lambda row: 0,
        heaviest: int = 1,
    ) -> tuple[list[Mapping[str, Any]], str | None]:
        """The same, of those rows that are seen. Who sees many of them finds a page's among the next ones; who does not would
        ask nearly all rows of the list in vain.
        """
        if seen.at_once is None or (end := self._near_end(connection, query)) is None:
            return self.rows(connection, query.where(seen.each), weight, heaviest)
        rows, cursor = self.rows(connection, query.where(seen.each, self._is_before(end)), weight, heaviest)
        return (rows, cursor) if cursor else self.rows(connection, query.where(seen.at_once), weight, heaviest)

    def _near_end(self, connection: Connection, query: Select[Any]) -> tuple[Any, ...] | None:
        """The place of the row before which the near ones are; None when there are no more."""
        places = self._from_here(query.with_only_columns(*self.order.columns)).limit(1).offset(_NEAR)
        found = connection.execute(places).one_or_none()
        return None if found is None else tuple(found)

    def _from_here(self, query: Select[Any]) -> Select[Any]:
        columns = self.order.columns
        if self.after is not None:
            there = self._as_place(self.after)
            query = query.where(tuple_(*columns) < there if self.order.descending else tuple_(*columns) > there)
        return query.order_by(*((c.desc() if self.order.descending else c.asc()) for c in columns))

    def _is_before(self, end: tuple[Any, ...]) -> ColumnElement[bool]:
        columns = tuple_(*self.order.columns)
        return columns > self._as_place(end) if self.order.descending else columns < self._as_place(end)

    def _as_place(self, values: tuple[Any, ...]) -> Tuple:
        return tuple_(*(literal(value, column.type) for value, column in zip(values, self.order.columns, strict=True)))

    def place_of(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """Where in the order a row stands."""
        return tuple(row[str(column.key)] for column in self.order.columns)

    def cursor_after(self, row: Mapping[str, Any]) -> str:
        """The cursor of the page that begins after a row."""
        said = json.dumps(list(self.place_of(row)), separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(_signature(self.key, self.bound, said) + said).rstrip(b"=").decode()


def page_of(path: str, query: Mapping[str, str], orders: Mapping[str, Order], default: str, key: bytes) -> Page:
    """The page that `query` asks of the list at `path`. Raises `Problem` for a wrong limit, order or cursor."""
    sort = query.get("sort", default)
    order = orders.get(sort)
    if order is None:
        raise wrong("sort", f"must be one of {', '.join(sorted(orders))}")
    filters = sorted((name, value) for name, value in query.items() if name not in ("cursor", "limit"))
    bound = json.dumps([path, sort, filters])
    return Page(order, _limit(query.get("limit")), _place(query.get("cursor"), bound, key, len(order.columns)), bound, key)


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_LIMIT):
        raise wrong("limit", f"must be between 1 and {MAX_LIMIT}")
    return int(text)


def _place(cursor: str | None, bound: str, key: bytes, length: int) -> tuple[Any, ...] | None:
    if cursor is None:
        return None
    try:
        if len(cursor) > _MAX_CURSOR:
            raise ValueError
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        if not hmac.compare_digest(raw[:16], _signature(key, bound, raw[16:])):
            raise ValueError
        place = tuple(json.loads(raw[16:]))
    except ValueError:
        raise Problem("invalid_cursor", "use next_cursor of the page before, with the same filters and order") from None
    return place if len(place) == length else None


def _signature(key: bytes, bound: str, said: bytes) -> bytes:
    return hmac.new(key, bound.encode() + b"\0" + said, hashlib.sha256).digest()[:16]

"""Which users are there, and in which roles? Never their passwords."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from api.as_of import Then
from api.paging import Order, Page
from domain.identity import USER
from projections.tables import users

_SHOWN = ("name", "roles", "created_at", "updated_at", "version")

ORDERS: dict[str, Order] = {"name": Order((users.c.name,)), "-name": Order((users.c.name,), descending=True)}


def then(time: str) -> Then:
    """The users there were then."""
    return Then(USER, "name", select(users.c.name).where(users.c.created_at <= time), lambda row: True)


def listed(connection: Connection, page: Page) -> tuple[list[dict[str, Any]], str | None]:
    """One page of users."""
    rows, cursor = page.rows(connection, select(users))
    return [shown(row) for row in rows], cursor


def one(connection: Connection, name: str) -> dict[str, Any] | None:
    """One user."""
    row = connection.execute(select(users).where(users.c.name == name)).mappings().one_or_none()
    return shown(row) if row else None


def shown(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A user as an administrator sees it."""
    return {name: row[name] for name in _SHOWN}

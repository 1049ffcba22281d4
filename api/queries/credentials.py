"""Which credentials are there? Never what they hold."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from api.as_of import Then
from api.paging import Order, Page
from domain.identity import CREDENTIAL
from projections.tables import credentials

_SHOWN = ("name", "title", "kind", "revision", "revoked", "created_at", "updated_at", "version")

ORDERS: dict[str, Order] = {
    "name": Order((credentials.c.name,)),
    "-name": Order((credentials.c.name,), descending=True),
    "updated_at": Order((credentials.c.updated_at, credentials.c.name)),
    "-updated_at": Order((credentials.c.updated_at, credentials.c.name), descending=True),
}


THEN_ORDERS = {name: ORDERS[name] for name in ("name", "-name")}
"""Those of what never changes."""


def then(revoked: bool, time: str, seen: ColumnElement[bool]) -> Then:
    """The credentials there were then, of those that are seen."""
    query = select(credentials.c.name).where(credentials.c.created_at <= time, seen)
    return Then(CREDENTIAL, "name", query, lambda row: row["revoked"] == revoked)


def listed(
    connection: Connection, page: Page, revoked: bool, seen: ColumnElement[bool]
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of the credentials that are seen."""
    rows, cursor = page.rows(connection, select(credentials).where(credentials.c.revoked == revoked, seen))
    return [shown(row) for row in rows], cursor


def one(connection: Connection, name: str) -> dict[str, Any] | None:
    """One credential, revoked or not."""
    row = connection.execute(select(credentials).where(credentials.c.name == name)).mappings().one_or_none()
    return shown(row) if row else None


def shown(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A credential as everybody sees it; revision 0 is none: what it held is destroyed."""
    return {**{name: row[name] for name in _SHOWN}, "shredded": row["revision"] == 0}

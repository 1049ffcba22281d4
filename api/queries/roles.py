"""Which roles are there? The built-in ones from the code, beside the custom ones in the read model."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from api.as_of import Then
from api.paging import Order, Page
from domain.access import ROLES, built_in
from domain.identity import ROLE
from projections.tables import roles

_SHOWN = ("name", "title", "permissions", "limits", "removed", "created_at", "updated_at", "version")

ORDERS: dict[str, Order] = {"name": Order((roles.c.name,)), "-name": Order((roles.c.name,), descending=True)}


def then(removed: bool, time: str) -> Then:
    """The custom roles there were then."""
    query = select(roles.c.name).where(roles.c.created_at <= time)
    return Then(ROLE, "name", query, lambda row: row["removed"] == removed)


def listed(connection: Connection, page: Page, removed: bool) -> tuple[list[Mapping[str, Any]], str | None]:
    """One page of the custom roles."""
    return page.rows(connection, select(roles).where(roles.c.removed == removed))


def with_built_in(page: Page, rows: list[Mapping[str, Any]], cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
    """The page of custom roles with the built-in ones where they belong: a page is never longer for them."""
    items = [shown(row) for row in rows]
    last = items[-1]["name"] if cursor is not None and items else None
    items += [_of_code(name) for name in ROLES if _is_between(page, name, last)]
    items.sort(key=lambda item: str(item["name"]), reverse=page.order.descending)
    if len(items) > page.limit:
        return items[: page.limit], page.cursor_after(items[page.limit - 1])
    return items, cursor


def _is_between(page: Page, name: str, last: str | None) -> bool:
    """Whether a name belongs on the page that begins after the page's place and, if there is another page, ends with `last`."""
    begin = page.after[0] if page.after is not None else None
    if page.order.descending:
        return (begin is None or name < begin) and (last is None or name > last)
    return (begin is None or name > begin) and (last is None or name < last)


def row_of(connection: Connection, name: str) -> Mapping[str, Any] | None:
    """A custom role's row, removed or not."""
    row = connection.execute(select(roles).where(roles.c.name == name)).mappings().one_or_none()
    return dict(row) if row else None


def one(connection: Connection, name: str) -> dict[str, Any] | None:
    """One role, removed or not."""
    if name in ROLES:
        return _of_code(name)
    row = row_of(connection, name)
    return shown(row) if row else None


def shown(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A custom role as it is shown."""
    return {**{name: row[name] for name in _SHOWN}, "built_in": False}


def _of_code(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "title": "",
        "permissions": sorted(p for p in built_in(name).permissions if not p.startswith("self.")),
        "limits": {"targets": None, "jobs": None, "credentials": None},
        "removed": False,
        "created_at": None,
        "updated_at": None,
        "version": 0,
        "built_in": True,
    }

"""Which targets are there, and which does a selector mean?"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, false, select

from api.as_of import Then
from api.paging import Order, Page
from domain.identity import TARGET
from domain.selector import NAME_KEY, Requirement, Selector, matches
from projections.tables import target_labels, targets

_SHOWN = (
    "name", "title", "host", "labels", "connection", "retired", "reachable", "last_check", "created_at", "updated_at", "version",
)  # fmt: skip

ORDERS: dict[str, Order] = {
    "name": Order((targets.c.name,)),
    "-name": Order((targets.c.name,), descending=True),
    "created_at": Order((targets.c.created_at, targets.c.name)),
    "-created_at": Order((targets.c.created_at, targets.c.name), descending=True),
    "updated_at": Order((targets.c.updated_at, targets.c.name)),
    "-updated_at": Order((targets.c.updated_at, targets.c.name), descending=True),
}


THEN_ORDERS = {name: ORDERS[name] for name in ("name", "-name", "created_at", "-created_at")}
"""Those of what never changes."""


def then(selector: Selector, retired: bool, time: str) -> Then:
    """The targets that matched then."""
    query = select(targets.c.name, targets.c.created_at).where(targets.c.created_at <= time)
    return Then(TARGET, "name", query, lambda row: row["retired"] == retired and matches(selector, row["name"], row["labels"]))


def listed(connection: Connection, page: Page, selector: Selector, retired: bool) -> tuple[list[dict[str, Any]], str | None]:
    """One page of the targets that match."""
    query = select(targets).where(targets.c.retired == retired, *map(_condition, selector))
    rows, cursor = page.rows(connection, query)
    return [shown(row) for row in rows], cursor


def one(connection: Connection, name: str) -> dict[str, Any] | None:
    """One target, retired or not."""
    row = connection.execute(select(targets).where(targets.c.name == name)).mappings().one_or_none()
    return shown(row) if row else None


def names_matching(connection: Connection, selector: Selector) -> list[str]:
    """The names of all targets in service that match, sorted as a plan sorts them."""
    query = select(targets.c.name).where(targets.c.retired == false(), *map(_condition, selector))
    return sorted(connection.execute(query).scalars())


def _condition(requirement: Requirement) -> ColumnElement[bool]:
    if requirement.key == NAME_KEY:
        return _name_condition(requirement)
    mine = (target_labels.c.target == targets.c.name) & (target_labels.c.key == requirement.key)
    match requirement.operator:
        case "=":
            return exists().where(mine & (target_labels.c.value == requirement.value))
        case "!=":
            return ~exists().where(mine & (target_labels.c.value == requirement.value))
        case "exists":
            return exists().where(mine)
        case "absent":
            return ~exists().where(mine)


def _name_condition(requirement: Requirement) -> ColumnElement[bool]:
    match requirement.operator:
        case "=":
            return targets.c.name == requirement.value
        case "!=":
            return targets.c.name != requirement.value
        case "exists":
            return targets.c.name.is_not(None)
        case "absent":
            return targets.c.name.is_(None)


def shown(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A target as everybody sees it."""
    return {name: row[name] for name in _SHOWN}

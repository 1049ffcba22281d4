"""Which targets are there, and which does a selector mean?"""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, false, select, true

from api.as_of import Then
from api.paging import Order, Page
from domain.access import TargetObject
from domain.identity import TARGET
from domain.selector import NAME_KEY, Requirement, Selector, matches, parse_selector
from projections.tables import run_steps, target_labels, targets

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


def then(
    selector: Selector, retired: bool, time: str, seen: ColumnElement[bool], was_seen: Callable[[TargetObject], bool]
) -> Then:
    """The targets that matched then, of those that are seen now and would have been then."""
    query = select(targets.c.name, targets.c.created_at).where(targets.c.created_at <= time, seen)

    def keeps(row: Mapping[str, Any]) -> bool:
        fits = row["retired"] == retired and matches(selector, row["name"], row["labels"])
        return fits and was_seen(TargetObject(row["name"], row["labels"]))

    return Then(TARGET, "name", query, keeps)


def listed(
    connection: Connection, page: Page, selector: Selector, retired: bool, seen: ColumnElement[bool]
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of the targets that match, of those that are seen."""
    query = select(targets).where(targets.c.retired == retired, seen, *map(_condition, selector))
    rows, cursor = page.rows(connection, query)
    return [shown(row) for row in rows], cursor


def one(connection: Connection, name: str) -> dict[str, Any] | None:
    """One target, retired or not."""
    row = connection.execute(select(targets).where(targets.c.name == name)).mappings().one_or_none()
    return shown(row) if row else None


def as_object(connection: Connection, name: str) -> TargetObject | None:
    """One target with its labels, retired or not."""
    row = connection.execute(select(targets.c.labels).where(targets.c.name == name)).one_or_none()
    return TargetObject(name, row.labels) if row else None


def objects_matching(connection: Connection, selector: Selector) -> list[TargetObject]:
    """All targets in service that match, sorted as a plan sorts them."""
    query = select(targets.c.name, targets.c.labels).where(targets.c.retired == false(), *map(_condition, selector))
    return sorted((TargetObject(row.name, row.labels) for row in connection.execute(query)), key=lambda target: target.name)


def objects_of_run(connection: Connection, run: str) -> list[TargetObject]:
    """The targets of a planned run with the labels they have now."""
    planned = select(run_steps.c.target).where(run_steps.c.run == run).distinct()
    query = select(targets.c.name, targets.c.labels).where(targets.c.name.in_(planned))
    return [TargetObject(row.name, row.labels) for row in connection.execute(query)]


def objects_touched(connection: Connection, run: Mapping[str, Any]) -> list[TargetObject]:
    """The targets of a run, or while it has no plan those that it would have."""
    if run["state"] == "requested":
        return objects_matching(connection, parse_selector(run["selector"]))
    return objects_of_run(connection, run["id"])


def _condition(requirement: Requirement) -> ColumnElement[bool]:
    return label_condition(requirement, targets.c.name)


def label_condition(requirement: Requirement, name: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the target called `name` meets a requirement."""
    if requirement.key == NAME_KEY:
        return _name_condition(requirement, name)
    mine = (target_labels.c.target == name) & (target_labels.c.key == requirement.key)
    match requirement.operator:
        case "=":
            return exists().where(mine & (target_labels.c.value == requirement.value))
        case "!=":
            return ~exists().where(mine & (target_labels.c.value == requirement.value))
        case "exists":
            return exists().where(mine)
        case "absent":
            return ~exists().where(mine)


def _name_condition(requirement: Requirement, name: ColumnElement[Any]) -> ColumnElement[bool]:
    match requirement.operator:
        case "=":
            return name == requirement.value
        case "!=":
            return name != requirement.value
        case "exists":
            return true()
        case "absent":
            return false()


def shown(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A target as everybody sees it."""
    return {name: row[name] for name in _SHOWN}

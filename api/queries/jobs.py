"""Which jobs are there, and what did each revision say?"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from api.as_of import Then
from api.paging import Order, Page
from domain.identity import JOB
from domain.job.definition import JobDefinition
from projections.tables import job_revisions, jobs
from schemas.payload import adapter

ORDERS: dict[str, Order] = {
    "name": Order((jobs.c.name,)),
    "-name": Order((jobs.c.name,), descending=True),
    "updated_at": Order((jobs.c.updated_at, jobs.c.name)),
    "-updated_at": Order((jobs.c.updated_at, jobs.c.name), descending=True),
}

REVISION_ORDERS: dict[str, Order] = {
    "revision": Order((job_revisions.c.revision,)),
    "-revision": Order((job_revisions.c.revision,), descending=True),
}


THEN_ORDERS = {name: ORDERS[name] for name in ("name", "-name")}
"""Those of what never changes."""


def then(archived: bool, time: str, seen: ColumnElement[bool]) -> Then:
    """The jobs there were then, of those that are seen."""
    query = select(jobs.c.name).where(jobs.c.created_at <= time, seen)
    return Then(JOB, "name", query, lambda row: row["archived"] == archived)


def listed(
    connection: Connection, page: Page, archived: bool, seen: ColumnElement[bool]
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of the jobs that are seen, each with its current definition."""
    rows, cursor = page.rows(connection, select(jobs).where(jobs.c.archived == archived, seen))
    return [shown(row) for row in rows], cursor


def one(connection: Connection, name: str) -> dict[str, Any] | None:
    """One job with its current definition, archived or not."""
    row = connection.execute(select(jobs).where(jobs.c.name == name)).mappings().one_or_none()
    return shown(row) if row else None


def current(connection: Connection, name: str) -> tuple[int, bool, JobDefinition] | None:
    """A job's revision, whether it is archived, and its definition."""
    row = connection.execute(select(jobs.c.revision, jobs.c.archived, jobs.c.definition).where(jobs.c.name == name)).one_or_none()
    return (row.revision, row.archived, adapter(JobDefinition).validate_python(row.definition)) if row else None


def revisions(connection: Connection, page: Page, name: str) -> tuple[list[dict[str, Any]], str | None]:
    """One page of a job's revisions."""
    rows, cursor = page.rows(connection, select(job_revisions).where(job_revisions.c.job == name))
    return [_revision(row) for row in rows], cursor


def revision(connection: Connection, name: str, number: int) -> dict[str, Any] | None:
    """One revision of a job."""
    at = job_revisions.c
    row = connection.execute(select(job_revisions).where(at.job == name, at.revision == number)).mappings().one_or_none()
    return _revision(row) if row else None


def shown(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A job as everybody sees it."""
    kept = ("name", "revision", "archived", "created_at", "updated_at", "version")
    return {**{name: row[name] for name in kept}, **row["definition"]}


def _revision(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {"name": row["job"], "revision": row["revision"], "author": row["author"], "time": row["time"], **row["definition"]}

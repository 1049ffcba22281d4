"""What can be done with jobs? (Starting a run of one is in `api.routes.start_run`.)"""

from typing import Any

from sqlalchemy import Connection
from starlette.responses import Response

from api import shapes
from api.as_of import PARAMETER, listed_then, row_then, time_of_list
from api.call import Call, json_answer, list_answer, versioned
from api.filters import flag
from api.permit import can, require, require_seen
from api.problem_details import Problem
from api.queries import jobs
from api.queries.seen import Columns, seen
from api.references import found
from api.routes.history import history_of
from api.routes.names import absent, slug
from api.routes.route import PAGED, Route
from api.sight import must_see
from api.strict_json import body_of, optional_body_of
from api.submit import Said, submit, write_of
from domain.access import JobObject
from domain.identity import JOB, check_slug, stream_of
from domain.job.decide import ArchiveJob, DefineJob, ReviseJob
from domain.job.definition import JobDefinition
from projections.tables import jobs as table
from schemas.http import closed
from schemas.http.job import named_definition, revised_definition
from schemas.http.run import NoBody


async def create(call: Call) -> Response:
    """Define a job."""
    body = await body_of(call.request)
    name, definition = named_definition(body.plain)
    check_slug(name)
    require(call, "jobs.write", JobObject(name), "name")
    write = write_of(call, stream_of(JOB, name), body, creates=True)
    return await submit(write, DefineJob(name, definition), Said(f"/jobs/{name}", {"name": name}, 201))


async def revise(call: Call) -> Response:
    """Make a job's next revision."""
    name = slug(call, JOB)
    require_seen(call, "jobs.write", JOB, JobObject(name))
    body = await body_of(call.request)
    command = ReviseJob(revised_definition(name, body.plain))
    return await submit(write_of(call, stream_of(JOB, name), body), command, Said(f"/jobs/{name}", {"name": name}))


async def archive(call: Call) -> Response:
    """Archive a job: no run of it can be started any more."""
    name = slug(call, JOB)
    require_seen(call, "jobs.write", JOB, JobObject(name))
    body = await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    return await submit(write_of(call, stream_of(JOB, name), body), ArchiveJob(), Said(f"/jobs/{name}", {"name": name}))


async def listed(call: Call) -> Response:
    """Jobs with their current definitions."""
    is_seen = seen(call.signed_in, "jobs.read", Columns(job=table.c.name))
    archived, time = flag(call.query, "archived"), time_of_list(call)
    if time is not None:
        page, then = call.page(jobs.THEN_ORDERS, "name"), jobs.then(archived, time, is_seen)
        rows, cursor = await call.models.ask(lambda connection: listed_then(connection, page, then, time))
        return list_answer([jobs.shown(row) for row in rows], cursor)
    page = call.page(jobs.ORDERS, "name")
    return list_answer(*await call.models.ask(lambda connection: jobs.listed(connection, page, archived, is_seen)))


async def show(call: Call) -> Response:
    """One job with its current definition."""
    name = slug(call, JOB)
    await must_see(call, JOB, name)
    if PARAMETER in call.query:
        return versioned(jobs.shown(await row_then(call, JOB, name)))
    job = await found(call, JOB, lambda connection: jobs.one(connection, name))
    if job is None:
        raise absent(JOB)
    return versioned(job)


async def revisions(call: Call) -> Response:
    """Every revision of a job."""
    name = slug(call, JOB)
    await must_see(call, JOB, name)
    page = call.page(jobs.REVISION_ORDERS, "revision")

    def asked(connection: Connection) -> tuple[list[dict[str, Any]], str | None] | None:
        items, cursor = jobs.revisions(connection, page, name)
        return (items, cursor) if items or page.after is not None else None

    listed = await found(call, JOB, asked)
    if listed is None:
        raise absent(JOB)
    return list_answer(*listed)


async def revision(call: Call) -> Response:
    """One revision of a job, as it was defined then."""
    name, text = slug(call, JOB), call.path("revision")
    if not can(call, "jobs.read", JobObject(name)):
        raise Problem("revision_not_found")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Problem("revision_not_found")
    revised = await found(call, JOB, lambda connection: jobs.revision(connection, name, int(text)))
    if revised is None:
        raise Problem("revision_not_found")
    return json_answer(revised)


_EXAMPLE = {
    "name": "rotate-logs",
    "title": "Rotate logs",
    "targets": "env=prod,role=web",
    "parameters": [{"name": "days", "type": "integer", "default": 7, "minimum": 1, "maximum": 90}],
    "strategy": {"batch_size": "25%", "parallelism": 20, "max_failures": "10%", "order": "name"},
    "on_executor_loss": "resume",
    "timeout_s": 3600,
    "concurrency": "forbid",
    "steps": [{"name": "rotate", "kind": "command", "run": "logrotate -f /etc/logrotate.conf", "timeout_s": 60}],
}

ROUTES = (
    Route(
        method="POST",
        path="/api/v1/jobs",
        gives=shapes.written("job", name="rotate-logs"),
        answer=create,
        permission="jobs.write",
        summary="Define a job",
        status=201,
        takes=JobDefinition,
        example=_EXAMPLE,
    ),
    Route(
        method="GET",
        path="/api/v1/jobs",
        gives=shapes.listed(shapes.JOB),
        answer=listed,
        permission="jobs.read",
        summary="List jobs",
        query=PAGED | {"archived", PARAMETER},
        reads=("jobs",),
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{name}",
        gives=shapes.JOB,
        answer=show,
        permission="jobs.read",
        summary="Show a job",
        query=frozenset({PARAMETER}),
        reads=("jobs",),
    ),
    Route(
        method="PUT",
        path="/api/v1/jobs/{name}",
        gives=shapes.written("job", name="rotate-logs"),
        answer=revise,
        permission="jobs.write",
        summary="Revise a job",
        takes=JobDefinition,
        example=_EXAMPLE,
    ),
    Route(
        method="DELETE",
        path="/api/v1/jobs/{name}",
        gives=shapes.written("job", name="rotate-logs"),
        answer=archive,
        permission="jobs.write",
        summary="Archive a job",
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{name}/revisions",
        gives=shapes.listed(shapes.REVISION),
        answer=revisions,
        permission="jobs.read",
        summary="List a job's revisions",
        query=PAGED,
        reads=("jobs",),
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{name}/revisions/{revision}",
        gives=shapes.REVISION,
        answer=revision,
        permission="jobs.read",
        summary="Show a revision of a job",
        reads=("jobs",),
    ),
    history_of("jobs", JOB, "jobs.read"),
)

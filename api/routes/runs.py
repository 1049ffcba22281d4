"""What can be done with runs, and what can be seen of them?"""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from api import shapes
from api.as_of import PARAMETER, listed_then, row_then, time_of_list
from api.call import Call, list_answer, versioned
from api.filters import chosen, flag, one_of
from api.judged import judged
from api.live import follow_run
from api.permit import require, require_seen
from api.problem_details import wrong
from api.queries import run_output, runs
from api.queries.partly_seen import as_seen, is_seen_in_part
from api.queries.seen import list_of_runs_seen, output_seen, steps_seen
from api.queries.targets import objects_touched
from api.references import found
from api.routes.history import history_of
from api.routes.names import absent, run_of
from api.routes.route import PAGED, Route
from api.sight import must_see
from api.strict_json import optional_body_of
from api.submit import Said, submit, write_of
from domain.access import JobObject, RunObject
from domain.identity import RUN, job_of, stream_of
from domain.run.messages import CancelRun
from domain.run.state import FINAL
from schemas.http import closed

_STEP_FILTERS = ("target", "step", "state")
STATES = ("requested", "planned", "awaiting_approval", "running", *FINAL, "refused")
STEP_STATES = (
    "pending", "running", "succeeded", "failed", "skipped", "cancelled", "timed_out", "lost", "unreachable",
)  # fmt: skip


async def listed(call: Call) -> Response:
    """Runs, newest first."""
    page, filters = call.page(runs.ORDERS, "-requested_at"), chosen(call.query, runs.FILTERS)
    one_of(filters, "state", STATES)
    is_seen = list_of_runs_seen(call.signed_in)
    if (time := time_of_list(call)) is not None:
        then = runs.then(filters, time, is_seen)
        rows, cursor = await call.models.ask(lambda connection: listed_then(connection, page, then, time))
    else:
        rows, cursor = await call.models.ask(lambda connection: runs.listed(connection, page, filters, is_seen))
    return list_answer(await _shown(call, rows), cursor)


async def show(call: Call) -> Response:
    """One run; a final one is shown once its steps and output are complete."""
    [shown] = await _shown(call, [await (_row_then(call) if PARAMETER in call.query else _row(call))])
    return versioned(shown)


async def steps(call: Call) -> Response:
    """What became of a run's steps on its targets."""
    row = await _row(call)
    page, filters = call.page(runs.STEP_ORDERS, "target"), chosen(call.query, _STEP_FILTERS)
    one_of(filters, "state", STEP_STATES)
    is_seen = steps_seen(call.signed_in, row["id"])
    return list_answer(*await call.models.ask(lambda connection: runs.steps(connection, page, row["id"], filters, is_seen)))


async def output(call: Call) -> Response:
    """What a run's steps wrote; with `follow=true` as it comes (SSE)."""
    row = await _row(call)
    filters = chosen(call.query, run_output.FILTERS)
    one_of(filters, "stream", ("stdout", "stderr"))
    if flag(call.query, "follow"):
        for name in PAGED & set(call.query):
            raise wrong(name, "does not go with follow")
        return follow_run(call, row["id"], filters)
    page = call.page(run_output.ORDERS, "target")
    is_seen = output_seen(call.signed_in, row["id"])
    return list_answer(
        *await call.models.ask(lambda connection: run_output.listed(connection, page, row["id"], filters, is_seen))
    )


async def cancel(call: Call) -> Response:
    """Cancel a run."""
    run = run_of(call)
    body = await optional_body_of(call.request)
    command: CancelRun = closed.read(CancelRun, body.raw, body.plain)
    require_seen(call, "runs.cancel", RUN, JobObject(job_of(run)))
    write, said = write_of(call, stream_of(RUN, run), body), Said(f"/runs/{run}", {"run_id": run})
    if call.signed_in.is_unlimited("runs.cancel"):
        return await submit(write, command, said)
    if (row := await _row(call))["state"] != "requested":  # its targets stay the same
        await _check_targets(call, row)
        return await submit(write, command, said)

    async def judge(row: Mapping[str, Any]) -> CancelRun:
        await _check_targets(call, row)
        return command

    return await judged(write, CancelRun, lambda connection: runs.row_of(connection, run), judge, said)


async def _check_targets(call: Call, row: Mapping[str, Any]) -> None:
    """Raise `Denied` unless the caller may cancel on every target of the run, or that it would have."""
    touched = await call.models.ask(lambda connection: objects_touched(connection, row))
    require(call, "runs.cancel", RunObject(row["job"], touched))


async def _row(call: Call) -> Mapping[str, Any]:
    run = run_of(call)
    await must_see(call, RUN, run)
    row = await found(call, RUN, lambda connection: runs.row_of(connection, run))
    if row is None:
        raise absent(RUN)
    return row


async def _row_then(call: Call) -> Mapping[str, Any]:
    await must_see(call, RUN, run_of(call))
    return await row_then(call, RUN, run_of(call))


async def _shown(call: Call, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the caller sees of these runs, once the final ones are complete in every read model that shows parts of them."""
    steps_at, output_at = runs.completeness(rows, call.given.reader.shards)
    await call.services.freshness.reached({"run_steps": steps_at, "run_output": output_at})
    if is_seen_in_part(call.signed_in):
        rows = await call.models.ask(lambda connection: as_seen(connection, call.signed_in, rows))
    return [runs.shown(row) for row in rows]


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/runs",
        gives=shapes.listed(shapes.RUN),
        answer=listed,
        permission="runs.read",
        summary="List runs",
        query=PAGED | set(runs.FILTERS) | {PARAMETER},
        reads=("runs", "run_steps"),
    ),
    Route(
        method="GET",
        path="/api/v1/runs/{run}",
        gives=shapes.RUN,
        answer=show,
        permission="runs.read",
        summary="Show a run",
        query=frozenset({PARAMETER}),
        reads=("runs", "run_steps"),
    ),
    Route(
        method="GET",
        path="/api/v1/runs/{run}/steps",
        gives=shapes.listed(shapes.STEP),
        answer=steps,
        permission="runs.read",
        summary="List a run's steps",
        query=PAGED | set(_STEP_FILTERS),
        reads=("runs", "run_steps"),
    ),
    Route(
        method="GET",
        path="/api/v1/runs/{run}/output",
        gives=shapes.listed(shapes.OUTPUT),
        answer=output,
        permission="runs.read",
        summary="Read or follow a run's output",
        query=PAGED | set(run_output.FILTERS) | {"follow"},
        reads=("runs", "run_output"),
    ),
    Route(
        method="POST",
        path="/api/v1/runs/{run}/cancel",
        gives=shapes.written("run", run_id=shapes.RUN_ID),
        answer=cancel,
        permission="runs.cancel",
        summary="Cancel a run",
        takes=CancelRun,
        example={"reason": "wrong day"},
    ),
    history_of("runs", RUN, "runs.read"),
)

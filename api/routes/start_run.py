"""How is a run started? Its parameters are checked and its secrets sealed for one revision of the job; when the job is revised in
between, once more for the newer one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection
from starlette.responses import Response

from api import shapes
from api.call import Call, json_answer
from api.permit import Denied, require_seen, why_not
from api.problem_details import Problem
from api.queries import jobs
from api.queries.targets import objects_matching
from api.references import found
from api.routes.names import absent, slug
from api.routes.route import Route
from api.sealing import Sealer, sealing
from api.strict_json import body_of, optional_body_of
from api.submit import Rejection, Said, Write, accepted_answer, remembered, submit, write_of
from domain.access import JobObject, RunObject, TargetObject, decide, selector_of
from domain.identity import JOB, RUN, TARGET, name_of, run_id, stream_of
from domain.job.definition import JobDefinition, share_of
from domain.job.parameters import MAX_VALUE_BYTES, Plain, SealedValue, Value, resolve
from domain.rejection import FieldError, Invalid
from domain.run.messages import RequestRun
from domain.selector import matches, parse_selector
from schemas.http import closed
from schemas.http.run import StartRun
from schemas.payload import adapter
from schemas.vault import bound_to_run

_RUNS = UUID("7d1cbbf0-0c2b-5f5e-9d0c-2f0f7a6d9c05")
_MAX_ATTEMPTS = 5
_REVISED = "job_revised_meanwhile"


@dataclass(frozen=True, slots=True)
class _Job:
    """The job as the read model shows it."""

    name: str
    revision: int
    archived: bool
    definition: JobDefinition


async def start(call: Call) -> Response:
    """Start a run, or with `dry_run` show what it would do."""
    name = slug(call, JOB)
    require_seen(call, "runs.start", JOB, JobObject(name))
    body = await (body_of if await call.request.body() else optional_body_of)(call.request)
    asked: StartRun = closed.read(StartRun, body.raw, body.plain)
    if asked.targets is not None:
        parse_selector(asked.targets, "targets")
    if asked.dry_run:
        return await _plan(call, await _judged_job(call, name, asked), asked)
    write = write_of(call, lambda key: stream_of(RUN, _new_run_id(call, name, key)), body, creates=True)
    run = name_of(write.stream)
    said = Said(f"/runs/{run}", {"run_id": run}, 201)
    if before := await remembered(write, RequestRun, _REVISED):
        return accepted_answer(write, said, *before)
    return await _request(write, await _judged_job(call, name, asked), asked, said)


def _new_run_id(call: Call, job: str, key: str) -> str:
    actor = call.signed_in.actor
    if "idempotency-key" in call.request.headers:
        return run_id(job, uuid5(_RUNS, f"{actor.kind}:{actor.name}\n{stream_of(JOB, job)}\n{key}"))
    return run_id(job, call.given.ids.new_id())


async def _job(call: Call, name: str) -> _Job:
    job = await found(call, JOB, lambda connection: _shown(connection, name))
    if job is None:
        raise absent(JOB)
    return job


async def _judged_job(call: Call, name: str, asked: StartRun) -> _Job:
    """The job; as the log had it when this was asked, if as it is shown the run would be denied."""
    job = await _job(call, name)
    try:
        await _targets(call, job, asked)
    except Denied:
        await call.services.freshness.log_end([TARGET])
        return await _job_now(call, job)
    return job


def _shown(connection: Connection, name: str) -> _Job | None:
    row = jobs.current(connection, name)
    return _Job(name, *row) if row else None


async def _request(write: Write, job: _Job, asked: StartRun, said: Said) -> Response:
    async with sealing(write.call.given.vault, write) as sealer:
        for attempt in range(1, _MAX_ATTEMPTS):
            try:
                return await _attempt(sealer, job, asked, said, attempt)
            except Rejection as rejected:
                if rejected.code != _REVISED:
                    raise
            job = await _job_now(write.call, job)
        return await _attempt(sealer, job, asked, said, _MAX_ATTEMPTS)


async def _attempt(sealer: Sealer, job: _Job, asked: StartRun, said: Said, attempt: int) -> Response:
    _, narrowed = await _targets(sealer.write.call, job, asked)
    values = await _sealed_values(sealer, job.definition, asked.parameters)
    command = RequestRun(job.name, job.revision, values, narrowed, asked.reason)
    return await submit(sealer.write, command, said, attempt)


async def _targets(call: Call, job: _Job, asked: StartRun) -> tuple[list[str] | None, str | None]:
    """The targets that the run would touch now (None where nobody had to look), and the selector that narrows the job's.

    Where only a limited role allows the run, its limit goes into the selector: the run touches nothing beyond it, nor does the
    answer tell whether there is anything. A run that replaces others ends them wherever they are: then all the job's targets
    must be within the limit. Raises `Denied`, naming `targets`.
    """
    if not asked.dry_run and call.signed_in.is_unlimited("runs.start"):
        return None, asked.targets
    found = await _matching(call, _both(job.definition.targets, asked.targets))
    limit = await _limit_on(call, job, found)
    within = [target.name for target in found if limit is None or matches(selector_of(limit), target.name, target.labels)]
    return within, _both(asked.targets, limit) or None


async def _limit_on(call: Call, job: _Job, found: Sequence[TargetObject]) -> str | None:
    """The limit on targets of the one role that the run is allowed by: the first of those that let it touch most of `found`."""
    run, grants = RunObject(job.name), call.signed_in.grants("runs.start")
    if job.definition.concurrency == "replace":
        run = RunObject(job.name, await _matching(call, job.definition.targets))
    limits = [grant.limits.targets for grant in grants if decide((grant,), "runs.start", run).allowed]
    if not limits:
        raise Denied("runs.start", why_not("runs.start", run, call.signed_in.decide("runs.start", run)), "targets")
    if None in limits:
        return None
    return max((limit for limit in limits if limit is not None), key=lambda limit: _touched(limit, found))


def _touched(limit: str, found: Sequence[TargetObject]) -> int:
    return sum(matches(selector_of(limit), target.name, target.labels) for target in found)


async def _matching(call: Call, selector: str) -> list[TargetObject]:
    wanted = parse_selector(selector, "targets")
    return await call.models.ask(lambda connection: objects_matching(connection, wanted))


def _both(*selectors: str | None) -> str:
    return ",".join(selector for selector in selectors if selector is not None)


async def _job_now(call: Call, seen: _Job) -> _Job:
    """The job as the log had it when this was asked; the rejection may be an earlier request's, and `seen` the newest already."""
    await call.services.freshness.log_end([JOB])
    return await call.models.ask(lambda connection: _shown(connection, seen.name)) or seen


async def _sealed_values(sealer: Sealer, definition: JobDefinition, given: Mapping[str, Plain]) -> Mapping[str, Value]:
    """The values as they enter the command; all are checked before the first secret is sealed."""
    secrets = _checked(definition, given)
    run = name_of(sealer.write.stream)
    sealed = {
        name: SealedValue(await sealer.seal(f"{run}\n{name}", bound_to_run(run, name), secret.encode()))
        for name, secret in secrets.items()
    }
    return {**given, **sealed}


def _checked(definition: JobDefinition, given: Mapping[str, Plain]) -> dict[str, str]:
    """The secrets among the values. Raises `Invalid` naming `parameters.<name>`, never showing a value."""
    kinds = {parameter.name: parameter.type for parameter in definition.parameters}
    secrets: dict[str, str] = {}
    errors: list[FieldError] = []
    for name, value in given.items():
        if kinds.get(name) != "secret":
            continue
        if not isinstance(value, str) or not value:
            errors.append(FieldError(f"parameters.{name}", "must be text, and not empty"))
        elif len(value.encode()) > MAX_VALUE_BYTES:
            errors.append(FieldError(f"parameters.{name}", f"is longer than {MAX_VALUE_BYTES} bytes"))
        secrets[name] = str(value)
    if errors:
        raise Invalid(*errors)
    resolve(definition.parameters, {**given, **{name: SealedValue("unsealed") for name in secrets}})
    return secrets


# --- dry run --------------------------------------------------------------------------------------------------------


async def _plan(call: Call, job: _Job, asked: StartRun) -> Response:
    if job.archived:
        raise Problem("job_archived", f"job {job.name} is archived")
    _checked(job.definition, asked.parameters)
    found, _ = await _targets(call, job, asked)
    names = found or []
    size = share_of(job.definition.strategy.batch_size, len(names), 1) or max(1, len(names))
    steps: list[Any] = adapter(JobDefinition).dump_python(job.definition, mode="json")["steps"]
    plan = {
        "job": job.name,
        "revision": job.revision,
        "targets": names,
        "batches": [names[begin : begin + size] for begin in range(0, len(names), size)],
        "steps": steps,
    }
    return json_answer(plan)


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/jobs/{name}/runs",
        gives=shapes.written("run", run_id=shapes.RUN_ID),
        answer=start,
        permission="runs.start",
        status=201,
        summary="Start a run, or show its plan (dry_run)",
        takes=StartRun,
        example={"parameters": {"days": 7}, "targets": "zone=a", "reason": "disk is full"},
    ),
)

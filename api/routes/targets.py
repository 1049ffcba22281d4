"""What can be done with targets?"""

from starlette.responses import Response

from api import shapes
from api.as_of import PARAMETER, listed_then, row_then, time_of_list
from api.call import Call, list_answer, versioned
from api.filters import flag
from api.queries import targets
from api.references import check_credential, found
from api.routes.history import history_of
from api.routes.names import absent, slug
from api.routes.route import PAGED, Route
from api.strict_json import body_of, optional_body_of
from api.submit import Said, accepted_answer, remembered, submit, write_of
from domain.identity import TARGET, stream_of
from domain.selector import parse_selector
from domain.target import ChangeTarget, RegisterTarget, RequestTargetCheck, RetireTarget, TargetState, decide
from schemas.http import closed
from schemas.http.run import NoBody
from schemas.http.target import TargetPatch, patch, register


async def create(call: Call) -> Response:
    """Register a target."""
    body = await body_of(call.request)
    command = register(body.raw, body.plain)
    decide(command, TargetState())  # what is wrong with it in itself comes before what it speaks of
    write = write_of(call, stream_of(TARGET, command.name), body, creates=True)
    said = Said(f"/targets/{command.name}", {"name": command.name}, 201)
    if before := await remembered(write, RegisterTarget):
        return accepted_answer(write, said, *before)
    await check_credential(call, command.connection.credential)
    return await submit(write, command, said)


async def listed(call: Call) -> Response:
    """Targets, also by a selector."""
    selector = parse_selector(call.query["selector"]) if "selector" in call.query else ()
    retired, time = flag(call.query, "retired"), time_of_list(call)
    if time is not None:
        page, then = call.page(targets.THEN_ORDERS, "name"), targets.then(selector, retired, time)
        rows, cursor = await call.models.ask(lambda connection: listed_then(connection, page, then, time))
        return list_answer([targets.shown(row) for row in rows], cursor)
    page = call.page(targets.ORDERS, "name")
    return list_answer(*await call.models.ask(lambda connection: targets.listed(connection, page, selector, retired)))


async def show(call: Call) -> Response:
    """One target."""
    name = slug(call, TARGET)
    if PARAMETER in call.query:
        return versioned(targets.shown(await row_then(call, TARGET, name)))
    target = await found(call, TARGET, lambda connection: targets.one(connection, name))
    if target is None:
        raise absent(TARGET)
    return versioned(target)


async def change(call: Call) -> Response:
    """Change a target by a JSON merge patch."""
    name = slug(call, TARGET)
    body = await body_of(call.request)
    command = patch(body.raw, body.plain)
    write, said = write_of(call, stream_of(TARGET, name), body), Said(f"/targets/{name}", {"name": name})
    if before := await remembered(write, ChangeTarget):
        return accepted_answer(write, said, *before)
    if command.connection is not None and command.connection.credential is not None:
        await check_credential(call, command.connection.credential)
    return await submit(write, command, said)


async def retire(call: Call) -> Response:
    """Take a target out of service."""
    name = slug(call, TARGET)
    body = await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    write = write_of(call, stream_of(TARGET, name), body)
    return await submit(write, RetireTarget(), Said(f"/targets/{name}", {"name": name}))


async def check(call: Call) -> Response:
    """Ask for a connection and log-in to be tried; what it finds is in the target's history."""
    name = slug(call, TARGET)
    body = await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    write = write_of(call, stream_of(TARGET, name), body)
    number = str(write.command_id())
    return await submit(write, RequestTargetCheck(number), Said(f"/targets/{name}", {"name": name, "check": number}))


_EXAMPLE = {
    "name": "web-01",
    "title": "Web 1",
    "host": "10.0.0.5",
    "labels": {"env": "prod", "role": "web"},
    "connection": {"kind": "ssh", "port": 22, "credential": "deploy-key", "host_key": "ssh-ed25519 AAAA…"},
}

ROUTES = (
    Route(
        method="POST",
        path="/api/v1/targets",
        gives=shapes.written("target", name="web-01"),
        answer=create,
        permission="targets.write",
        summary="Register a target",
        status=201,
        takes=RegisterTarget,
        example=_EXAMPLE,
    ),
    Route(
        method="GET",
        path="/api/v1/targets",
        gives=shapes.listed(shapes.TARGET),
        answer=listed,
        permission="targets.read",
        summary="List targets",
        query=PAGED | {"selector", "retired", PARAMETER},
        reads=("targets",),
    ),
    Route(
        method="GET",
        path="/api/v1/targets/{name}",
        gives=shapes.TARGET,
        answer=show,
        permission="targets.read",
        summary="Show a target",
        query=frozenset({PARAMETER}),
        reads=("targets",),
    ),
    Route(
        method="PATCH",
        path="/api/v1/targets/{name}",
        gives=shapes.written("target", name="web-01"),
        answer=change,
        permission="targets.write",
        summary="Change a target",
        takes=TargetPatch,
        example={"labels": {"env": "test", "role": None}},
    ),
    Route(
        method="DELETE",
        path="/api/v1/targets/{name}",
        gives=shapes.written("target", name="web-01"),
        answer=retire,
        permission="targets.write",
        summary="Retire a target",
    ),
    Route(
        method="POST",
        path="/api/v1/targets/{name}/check",
        gives=shapes.written("target", name="web-01", check=shapes.EVENT_ID),
        answer=check,
        permission="targets.check",
        summary="Check that a target can be reached",
        takes=NoBody,
        example={},
    ),
    history_of("targets", TARGET, "targets.read"),
)

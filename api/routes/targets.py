"""What can be done with targets?"""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection
from starlette.responses import Response

from api import shapes
from api.as_of import PARAMETER, listed_then, row_then, time_of_list
from api.call import Call, list_answer, versioned
from api.filters import flag
from api.judged import Judge, judged
from api.permit import can, require, require_seen
from api.queries import targets
from api.queries.seen import Columns, seen
from api.references import check_credential, found
from api.routes.history import history_of
from api.routes.names import absent, slug
from api.routes.route import PAGED, Route
from api.sight import must_see
from api.strict_json import body_of, optional_body_of
from api.submit import Said, Write, accepted_answer, remembered, submit, write_of
from domain.access import CredentialObject, TargetObject
from domain.identity import TARGET, name_of, stream_of
from domain.selector import parse_selector
from domain.target import (
    ChangeTarget,
    RegisterTarget,
    RequestTargetCheck,
    RetireTarget,
    SshConnection,
    TargetState,
    decide,
    fold,
)
from projections.tables import targets as table
from schemas.http import closed
from schemas.http.run import NoBody
from schemas.http.target import TargetPatch, patch, register


async def create(call: Call) -> Response:
    """Register a target."""
    body = await body_of(call.request)
    command = register(body.raw, body.plain)
    decide(command, TargetState())  # what is wrong with it in itself comes before what it speaks of
    require(call, "targets.write", TargetObject(command.name, command.labels or {}), "labels")
    _check_use(call, command.connection.credential)
    write = write_of(call, stream_of(TARGET, command.name), body, creates=True)
    said = Said(f"/targets/{command.name}", {"name": command.name}, 201)
    if before := await remembered(write, RegisterTarget):
        return accepted_answer(write, said, *before)
    await check_credential(call, command.connection.credential)
    return await submit(write, command, said)


def _check_use(call: Call, credential: str) -> None:
    require(call, "credentials.use", CredentialObject(credential), "connection.credential")


async def listed(call: Call) -> Response:
    """Targets, also by a selector."""
    is_seen = seen(call.signed_in, "targets.read", Columns(target=table.c.name))
    selector = parse_selector(call.query["selector"]) if "selector" in call.query else ()
    retired, time = flag(call.query, "retired"), time_of_list(call)
    if time is not None:
        page, then = (
            call.page(targets.THEN_ORDERS, "name"),
            targets.then(selector, retired, time, is_seen, lambda target: can(call, "targets.read", target)),
        )
        rows, cursor = await call.models.ask(lambda connection: listed_then(connection, page, then, time))
        return list_answer([targets.shown(row) for row in rows], cursor)
    page = call.page(targets.ORDERS, "name")
    return list_answer(*await call.models.ask(lambda connection: targets.listed(connection, page, selector, retired, is_seen)))


async def show(call: Call) -> Response:
    """One target."""
    name = slug(call, TARGET)

    def seen(row: dict[str, Any] | None) -> dict[str, Any] | None:
        return row if row is not None and can(call, "targets.read", _object(row)) else None

    target: dict[str, Any] | None
    if PARAMETER in call.query:
        await must_see(call, TARGET, name)
        target = seen(targets.shown(await row_then(call, TARGET, name)))
    else:  # a hidden one is looked for as long as one that is not there
        target = await found(call, TARGET, lambda connection: seen(targets.one(connection, name)))
    if target is None:
        raise absent(TARGET)
    return versioned(target)


def _object(row: Mapping[str, Any]) -> TargetObject:
    return TargetObject(row["name"], row["labels"])


async def change(call: Call) -> Response:
    """Change a target by a JSON merge patch."""
    name = slug(call, TARGET)
    body = await body_of(call.request)
    command = patch(body.raw, body.plain)
    write = write_of(call, stream_of(TARGET, name), body)
    caller, redirects = call.signed_in, command.host is not None or command.connection is not None
    if caller.is_unlimited("targets.write") and (caller.is_unlimited("credentials.use") or not redirects):
        return await _changed(write, command)
    return await judged(write, ChangeTarget, _look(name), _judge_of_change(call, command), _said(name))


async def _changed(write: Write, command: ChangeTarget) -> Response:
    said = _said(name_of(write.stream))
    if before := await remembered(write, ChangeTarget):
        return accepted_answer(write, said, *before)
    if command.connection is not None and command.connection.credential is not None:
        await check_credential(write.call, command.connection.credential)
    return await submit(write, command, said)


def _judge_of_change(call: Call, command: ChangeTarget) -> Judge:
    """Whoever changes a target must be allowed it as it was and as it will be; and whoever leads a credential to another host,
    port or host key, or puts another one in its place, must be allowed to use it.
    """

    async def judge(row: Mapping[str, Any]) -> ChangeTarget:
        require_seen(call, "targets.write", TARGET, _object(row))
        connection = SshConnection(**row["connection"])
        before = TargetState(row["name"], row["title"], row["host"], row["labels"], connection, row["retired"])
        after = fold(before, decide(command, before))
        require(call, "targets.write", TargetObject(after.name, after.labels or {}), "labels")
        if after.connection is not None and (after.host, after.connection) != (before.host, before.connection):
            _check_use(call, after.connection.credential)
            if after.connection.credential != connection.credential:
                await check_credential(call, after.connection.credential)
        return command

    return judge


def _look(name: str) -> Callable[[Connection], Mapping[str, Any] | None]:
    return lambda connection: targets.one(connection, name)


def _said(name: str, **key: str) -> Said:
    return Said(f"/targets/{name}", {"name": name, **key})


async def _permitted(write: Write, permission: str, command: Any, said: Said) -> Response:
    """Send a command that depends on the target only in so far as the caller must be permitted it there."""
    call = write.call
    if call.signed_in.is_unlimited(permission):
        return await submit(write, command, said)

    async def judge(row: Mapping[str, Any]) -> Any:
        require_seen(call, permission, TARGET, _object(row))
        return command

    return await judged(write, type(command), _look(name_of(write.stream)), judge, said)


async def retire(call: Call) -> Response:
    """Take a target out of service."""
    name = slug(call, TARGET)
    body = await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    write = write_of(call, stream_of(TARGET, name), body)
    return await _permitted(write, "targets.write", RetireTarget(), _said(name))


async def check(call: Call) -> Response:
    """Ask for a connection and log-in to be tried; what it finds is in the target's history."""
    name = slug(call, TARGET)
    body = await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    write = write_of(call, stream_of(TARGET, name), body)
    number = str(write.command_id())
    return await _permitted(write, "targets.check", RequestTargetCheck(number), _said(name, check=number))


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

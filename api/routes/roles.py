"""What can be done with roles? The built-in ones are shown; custom ones are made, changed and removed."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from api import shapes
from api.as_of import PARAMETER, listed_then, row_then, time_of_list
from api.call import Call, list_answer, versioned
from api.filters import flag
from api.giving import check_gives
from api.in_force import in_force
from api.judged import judged
from api.problem_details import Problem
from api.queries import roles
from api.references import found
from api.routes.history import history_of
from api.routes.names import absent, slug
from api.routes.route import PAGED, Route
from api.strict_json import body_of, optional_body_of
from api.submit import Said, submit, write_of
from domain.access import ROLES, Grant, Limits
from domain.identity import ROLE, stream_of
from domain.role import ChangeRole, DefineRole, RemoveRole, RoleState, decide, fold
from schemas.http import closed
from schemas.http.role import RolePatch, patch
from schemas.http.run import NoBody


async def create(call: Call) -> Response:
    """Define a role. Whoever does must have all that it permits, as widely."""
    body = await body_of(call.request)
    command = closed.read(DefineRole, body.raw, body.plain)
    decide(command, RoleState())  # what is wrong with it in itself
    check_gives(call, "roles.write", [Grant(command.name, frozenset(command.permissions), command.limits)])
    write = write_of(call, stream_of(ROLE, command.name), body, creates=True)
    return await in_force(write, await submit(write, command, Said(f"/roles/{command.name}", {"name": command.name}, 201)))


async def listed(call: Call) -> Response:
    """Roles with what they permit; those that were removed with `removed=true`."""
    page, removed, time = call.page(roles.ORDERS, "name"), flag(call.query, "removed"), time_of_list(call)
    if time is not None:
        then = roles.then(removed, time)
        rows, cursor = await call.models.ask(lambda connection: listed_then(connection, page, then, time))
    else:
        rows, cursor = await call.models.ask(lambda connection: roles.listed(connection, page, removed))
    if removed:
        return list_answer([roles.shown(row) for row in rows], cursor)
    return list_answer(*roles.with_built_in(page, rows, cursor))


async def show(call: Call) -> Response:
    """One role, removed or not."""
    name = slug(call, ROLE)
    if PARAMETER in call.query and name not in ROLES:
        return versioned(roles.shown(await row_then(call, ROLE, name)))
    role = await found(call, ROLE, lambda connection: roles.one(connection, name))
    if role is None:
        raise absent(ROLE)
    return versioned(role)


async def change(call: Call) -> Response:
    """Change a role for everybody who holds it, by a JSON merge patch. It takes all that the role permits, before and after."""
    name = _custom(call)
    body = await body_of(call.request)
    patch(body.raw, body.plain, Limits())  # what is wrong with it in itself
    write = write_of(call, stream_of(ROLE, name), body)

    async def judge(row: Mapping[str, Any]) -> ChangeRole:
        before = RoleState(row["name"], row["title"], tuple(row["permissions"]), Limits(**row["limits"]), row["removed"])
        command = patch(body.raw, body.plain, before.limits)
        after = fold(before, decide(command, before))
        check_gives(call, "roles.write", [_granted(row), Grant(name, frozenset(after.permissions), after.limits)])
        return command

    answer = await judged(write, ChangeRole, lambda connection: roles.row_of(connection, name), judge, _said(name))
    return await in_force(write, answer)


async def remove(call: Call) -> Response:
    """Remove a role: it grants nothing any more, and its name stays taken. Whoever does must have all that it permits."""
    name = _custom(call)
    body = await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    write = write_of(call, stream_of(ROLE, name), body)

    async def judge(row: Mapping[str, Any]) -> RemoveRole:
        if not row["removed"]:
            check_gives(call, "roles.write", [_granted(row)])
        return RemoveRole()

    answer = await judged(write, RemoveRole, lambda connection: roles.row_of(connection, name), judge, _said(name))
    return await in_force(write, answer)


def _granted(row: Mapping[str, Any]) -> Grant:
    return Grant(row["name"], frozenset(row["permissions"]), Limits(**row["limits"]))


def _custom(call: Call) -> str:
    name = slug(call, ROLE)
    if name in ROLES:
        raise Problem("role_built_in", f"{name} is built in")
    return name


def _said(name: str) -> Said:
    return Said(f"/roles/{name}", {"name": name})


_EXAMPLE = {
    "name": "web-operator",
    "title": "Runs web jobs on staging",
    "permissions": ["jobs.read", "runs.read", "runs.start", "runs.cancel", "targets.read", "commands.read"],
    "limits": {"jobs": "web-*", "targets": "env=staging"},
}

ROUTES = (
    Route(
        method="POST",
        path="/api/v1/roles",
        gives=shapes.written("role", name="web-operator"),
        answer=create,
        permission="roles.write",
        status=201,
        summary="Define a role",
        takes=DefineRole,
        example=_EXAMPLE,
    ),
    Route(
        method="GET",
        path="/api/v1/roles",
        gives=shapes.listed(shapes.ROLE),
        answer=listed,
        permission="roles.read",
        summary="List roles",
        query=PAGED | {"removed", PARAMETER},
        reads=("roles",),
    ),
    Route(
        method="GET",
        path="/api/v1/roles/{name}",
        gives=shapes.ROLE,
        answer=show,
        permission="roles.read",
        summary="Show a role",
        query=frozenset({PARAMETER}),
        reads=("roles",),
    ),
    Route(
        method="PATCH",
        path="/api/v1/roles/{name}",
        gives=shapes.written("role", name="web-operator"),
        answer=change,
        permission="roles.write",
        summary="Change a role",
        takes=RolePatch,
        example={"limits": {"jobs": "web-*", "targets": None}},
    ),
    Route(
        method="DELETE",
        path="/api/v1/roles/{name}",
        gives=shapes.written("role", name="web-operator"),
        answer=remove,
        permission="roles.write",
        summary="Remove a role",
    ),
    history_of("roles", ROLE, "roles.read"),
)

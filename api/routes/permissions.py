"""May somebody do this to that, and why or why not? In words, by the very decision that every request is judged by."""

from collections.abc import Sequence

from sqlalchemy import Connection
from starlette.responses import Response

from api import shapes
from api.call import Call, json_answer
from api.filters import chosen
from api.granted import granted_in
from api.identity import user_row
from api.permit import Denied
from api.problem_details import wrong
from api.queries import jobs, runs
from api.queries.targets import as_object, objects_matching, objects_touched
from api.references import found
from api.routes.names import absent, slug
from api.routes.route import Route
from api.sight import must_see
from domain.access import (
    PERMISSIONS,
    CredentialObject,
    Decision,
    Grant,
    JobObject,
    Object,
    RunObject,
    decide,
)
from domain.identity import CREDENTIAL, JOB, RUN, TARGET, USER, is_run_id, is_slug, kind_of, name_of
from domain.selector import parse_selector

Things = Sequence[Object | None]
"""The thing that is asked about, as it is decided on; of several it is enough to be allowed one. None: anything at all."""

_OBJECTS = {
    "targets": (TARGET,),
    "jobs": (JOB,),
    "runs": (JOB, RUN),
    "credentials": (CREDENTIAL,),
    "audit": (TARGET, JOB, RUN, CREDENTIAL),
}
"""What the permissions of each kind may be asked about."""


async def explain(call: Call) -> Response:
    """Whether a user may do something, to one thing if `object` names it, and what each of the user's roles says to that. An API
    token that asks about its owner asks what it may do itself.
    """
    name = slug(call, USER)
    if name != call.signed_in.user and not call.signed_in.may("users.read"):
        raise Denied("users.read", "what others may do is told to who may read users")
    asked = chosen(call.query, ("permission", "object"))
    permission, stream = asked.get("permission", ""), asked.get("object")
    if permission not in PERMISSIONS:
        raise wrong("permission", "there is no such permission" if permission else "is required")
    things = await _objects(call, permission, stream, name) if stream is not None else (None,)

    def roles_of(connection: Connection) -> tuple[Sequence[str], bool, tuple[Grant, ...]] | None:
        user = user_row(connection, name)
        return None if user is None else (user["roles"], user["disabled"], granted_in(connection, user["roles"]))

    user = await found(call, USER, roles_of)
    if user is None:
        raise absent(USER)
    held, disabled, granted = user
    roles = [_said(role, granted, permission, things) for role in held]
    lack = call.signed_in.lack_of_token(permission) if name == call.signed_in.user else None
    allowed = not disabled and lack is None and _decided(granted, permission, things).allowed
    why = "the user is disabled" if disabled else " ".join(lack) if lack else _why(permission, allowed, roles)
    said = {"user": name, "permission": permission, "object": stream, "allowed": allowed, "why": why, "roles": roles}
    return json_answer(said)


def _decided(granted: Sequence[Grant], permission: str, things: Things) -> Decision:
    decisions = [decide(granted, permission, thing) for thing in things]
    return next((each for each in decisions if each.allowed), decisions[0])


def _said(role: str, granted: Sequence[Grant], permission: str, things: Things) -> dict[str, object]:
    grants = [grant for grant in granted if grant.role == role]
    if not grants:
        return {"role": role, "allows": False, "why": "was removed and grants nothing"}
    found = _decided(grants, permission, things)
    within = ", ".join(f"{name} {limit}" for name, limit in grants[0].limits.on(permission).items())
    allows = f"has {permission}" + (f" within {within}" if within else "")
    return {"role": role, "allows": found.allowed, "why": allows if found.allowed else found.lacks[0][1]}


def _why(permission: str, allowed: bool, roles: Sequence[dict[str, object]]) -> str:
    if permission.startswith("self."):
        return "one's own account is everybody's"
    telling = [f"{role['role']} {role['why']}" for role in roles if role["allows"] is allowed]
    return (telling[0] if allowed else "; ".join(telling)) if telling else "the user has no role"


async def _objects(call: Call, permission: str, stream: str, user: str) -> Things:
    """The thing as it is decided on for this user. Raises `Problem`, also when the one who asks may not read it."""
    kind, name = kind_of(stream), name_of(stream)
    if kind not in _OBJECTS.get(permission.partition(".")[0], ()):
        raise wrong("object", f"{permission} is not had on a thing of this kind")
    if not (is_run_id(name) if kind == RUN else is_slug(name)):
        raise absent(kind)
    await must_see(call, kind, name)

    def asked(connection: Connection) -> Things | None:
        if kind == RUN:
            return _run(connection, permission, name, user)
        thing = _thing(connection, permission, kind, name)
        return None if thing is None else (thing,)

    things = await found(call, kind, asked)
    if things is None:
        raise absent(kind)
    return things


def _run(connection: Connection, permission: str, name: str, user: str) -> Things | None:
    row = runs.row_of(connection, name)
    if row is None:
        return None
    job, touched = row["job"], objects_touched(connection, row)
    if permission != "runs.read" or not touched:
        return (RunObject(job, touched),)
    if row["requested_by"] == user:
        return (RunObject(job),)
    return tuple(RunObject(job, (target,)) for target in touched)  # one of them is enough


def _thing(connection: Connection, permission: str, kind: str, name: str) -> Object | None:
    match kind:
        case "target":
            return as_object(connection, name)
        case "credential":
            return CredentialObject(name)
    job = jobs.current(connection, name)
    if job is None:
        return None
    if permission != "runs.start":
        return JobObject(name)
    if job[2].concurrency != "replace":
        return JobObject(name)  # the run is narrowed to what is within the limit
    return RunObject(name, objects_matching(connection, parse_selector(job[2].targets)))


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/users/{name}/permissions/explain",
        gives=shapes.EXPLANATION,
        answer=explain,
        permission="self.read",
        summary="Why a user may or may not do something",
        query=frozenset({"permission", "object"}),
        reads=("users", "roles"),
    ),
)

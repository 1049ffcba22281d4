"""Where is a user signed in, and how does who manages users end that? One's own sessions are in `own_sessions`."""

from collections.abc import Sequence

from starlette.responses import Response

from api import shapes
from api.call import Call, json_answer
from api.giving import account_managed
from api.own_record import end_sessions, write_by
from api.problem_details import Problem
from api.references import found
from api.routes.names import absent, slug
from api.routes.route import Route
from api.session_list import sessions_of, shown
from api.strict_json import optional_body_of
from domain.identity import USER, stream_of
from domain.user.messages import EndSessions
from schemas.http import closed
from schemas.http.run import NoBody


async def _theirs(call: Call, name: str) -> Sequence[str]:
    sessions = await found(call, USER, lambda connection: sessions_of(connection, name))
    if sessions is None:
        raise absent(USER)
    return sessions


async def listed(call: Call) -> Response:
    """A user's sessions, the newest first."""
    return json_answer({"items": await shown(call, await _theirs(call, slug(call, USER))), "next_cursor": None})


async def end(call: Call) -> Response:
    """End one of a user's sessions: no token of it is good any more when the answer comes."""
    name, ends = await _managed(call), (call.path("session"),)
    if not await _ended(call, name, EndSessions(ends, "revoked"), ends):
        raise Problem("session_not_found")
    return json_answer({"ended": list(ends)})


async def end_all(call: Call) -> Response:
    """End all of a user's sessions, of one's own the one that asks, too. Named are those that were known: one that began a moment
    ago may have ended as well.
    """
    name = await _managed(call)
    known = await _theirs(call, name)
    ended = await _ended(call, name, EndSessions(None, "revoked"), known)
    return json_answer({"ended": list(known) if ended else []})


async def _managed(call: Call) -> str:
    """Whose sessions are to end. Raises `Problem` unless the caller may manage the account. Not for one version of it only: or
    who signs in again and again could keep them from ending.
    """
    body = await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    name = slug(call, USER)
    await account_managed(call, name)
    return name


async def _ended(call: Call, name: str, command: EndSessions, known: Sequence[str]) -> bool:
    return await end_sessions(write_by(call, stream_of(USER, name), call.signed_in), command, known)


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/users/{name}/sessions",
        gives=shapes.listed(shapes.SESSION),
        answer=listed,
        permission="users.read",
        summary="List a user's sessions",
        reads=("users",),
    ),
    Route(
        method="DELETE",
        path="/api/v1/users/{name}/sessions",
        gives=shapes.ENDED_SESSIONS,
        answer=end_all,
        permission="users.write",
        summary="End all of a user's sessions",
    ),
    Route(
        method="DELETE",
        path="/api/v1/users/{name}/sessions/{session}",
        gives=shapes.ENDED_SESSIONS,
        answer=end,
        permission="users.write",
        summary="End one of a user's sessions",
    ),
)

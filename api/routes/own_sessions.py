"""Where is somebody signed in, and how do they end that? Everybody's own sessions alone; an API token has none."""

from collections.abc import Sequence

from starlette.responses import Response

from api import shapes
from api.account import signed_in_person
from api.call import Call, json_answer
from api.own_record import end_sessions, own_write
from api.problem_details import Problem
from api.routes.route import Route
from api.session_list import sessions_of, shown
from api.strict_json import optional_body_of
from domain.user.messages import EndSessions
from schemas.http import closed
from schemas.http.run import NoBody


async def _own(call: Call) -> Sequence[str]:
    return await call.models.ask(lambda connection: sessions_of(connection, call.signed_in.user)) or ()


async def listed(call: Call) -> Response:
    """One's own sessions, the newest first."""
    signed_in_person(call)
    return json_answer({"items": await shown(call, await _own(call)), "next_cursor": None})


async def end(call: Call) -> Response:
    """End one of one's own sessions: no token of it is good any more when the answer comes."""
    await _asked(call)
    ends = (call.path("session"),)
    if not await end_sessions(own_write(call, call.signed_in.user), EndSessions(ends, "sign_out"), ends):
        raise Problem("session_not_found")
    return json_answer({"ended": list(ends)})


async def end_others(call: Call) -> Response:
    """End all of one's own sessions but the one that asks. Named are those that were known: one that began a moment ago may have
    ended, too.
    """
    current = await _asked(call)
    known = [session for session in await _own(call) if session != current]
    ended = await end_sessions(own_write(call, call.signed_in.user), EndSessions(None, "sign_out", current), known)
    return json_answer({"ended": known if ended else []})


async def _asked(call: Call) -> str:
    """The session that asks."""
    current, body = signed_in_person(call), await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    return current


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/me/sessions",
        gives=shapes.listed(shapes.SESSION),
        answer=listed,
        permission="self.read",
        summary="List one's own sessions",
        reads=("users",),
    ),
    Route(
        method="DELETE",
        path="/api/v1/me/sessions",
        gives=shapes.ENDED_SESSIONS,
        answer=end_others,
        permission="self.write",
        summary="End all of one's own sessions but this one",
    ),
    Route(
        method="DELETE",
        path="/api/v1/me/sessions/{session}",
        gives=shapes.ENDED_SESSIONS,
        answer=end,
        permission="self.write",
        summary="End one of one's own sessions",
    ),
)

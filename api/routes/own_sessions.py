"""Where is somebody signed in, and how do they end that? Everybody's own sessions alone; an API token has none.

Whoever ends another's sessions gives them another password, or disables them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from starlette.responses import Response

from api import shapes
from api.account import signed_in_person
from api.call import Call, json_answer
from api.identity import user_row
from api.own_record import end_own_sessions
from api.problem_details import Problem
from api.routes.route import Route
from api.sessions import SessionsUnavailable
from api.shapes import Maybe, Shape
from api.sign_in_flow import began_at, begun_by_provider
from api.strict_json import optional_body_of
from domain.identity import USER
from schemas.http import closed
from schemas.http.run import NoBody


async def _own(call: Call) -> Sequence[str]:
    user = await call.models.ask(lambda connection: user_row(connection, call.signed_in.user))
    return user["sessions"] if user else ()


async def listed(call: Call) -> Response:
    """One's own sessions, the newest first."""
    current, own = signed_in_person(call), await _own(call)
    refreshed = await _refreshed(call, own)
    items = [
        {
            "session": session,
            "begun_at": _text(began_at(session)),
            "refreshed_at": _text(refreshed[session]) if session in refreshed else None,
            "begun_by": "identity_provider" if begun_by_provider(session) else "password",
            "current": session == current,
        }
        for session in reversed(own)
    ]
    return json_answer({"items": items, "next_cursor": None})


async def _refreshed(call: Call, own: Sequence[str]) -> Mapping[str, datetime]:
    """When these began or were last refreshed, as far as the session store knows them; nothing while it cannot be asked."""
    known: dict[str, datetime] = {}
    try:
        for session in own:
            if (unused := await call.given.sessions.unused_s(session)) is not None:
                known[session] = call.given.clock.now() - timedelta(seconds=unused)
    except SessionsUnavailable:
        return {}
    return known


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def end(call: Call) -> Response:
    """End one of one's own sessions: no token of it is good any more when the answer comes."""
    session, _ = call.path("session"), await _ending(call)
    if session not in await _own(call):
        raise Problem("session_not_found")
    return await _ended(call, (session,))


async def end_others(call: Call) -> Response:
    """End all of one's own sessions but the one that asks."""
    current = await _ending(call)
    return await _ended(call, tuple(session for session in await _own(call) if session != current))


async def _ending(call: Call) -> str:
    """The session that asks, once every session that began before the request came is known."""
    current, body = signed_in_person(call), await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    await call.services.freshness.log_end([USER])
    return current


async def _ended(call: Call, ends: tuple[str, ...]) -> Response:
    if ends:
        await end_own_sessions(call, ends)
    return json_answer({"ended": list(ends)})


_SESSION = "01a20f1f-13a8-73a4-9249-d007f627b33d"
_OWN = Shape("OwnSession", {
    "session": _SESSION, "begun_at": "2026-11-25T08:00:00.000Z", "refreshed_at": Maybe("2026-11-25T11:45:12.250Z"),
    "begun_by": "password", "current": True,
})  # fmt: skip
_ENDED = Shape("EndedSessions", {"ended": [_SESSION]})

ROUTES = (
    Route(
        method="GET",
        path="/api/v1/me/sessions",
        gives=shapes.listed(_OWN),
        answer=listed,
        permission="self.read",
        summary="List one's own sessions",
        reads=("users",),
    ),
    Route(
        method="DELETE",
        path="/api/v1/me/sessions",
        gives=_ENDED,
        answer=end_others,
        permission="self.write",
        summary="End all of one's own sessions but this one",
    ),
    Route(
        method="DELETE",
        path="/api/v1/me/sessions/{session}",
        gives=_ENDED,
        answer=end,
        permission="self.write",
        summary="End one of one's own sessions",
    ),
)

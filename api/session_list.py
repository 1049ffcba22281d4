"""Where is somebody signed in? Sessions as they are shown: since when, by what, last refreshed when; none that is over."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from api.call import Call
from api.identity import user_row
from api.sessions import REFRESH_S, SessionsUnavailable
from api.sign_in_flow import began_at, begun_by_provider, may_go_on
from api.tokens import ACCESS_S, LEEWAY_S

_LAST_ACCESS = timedelta(seconds=ACCESS_S + LEEWAY_S)
"""How long a session goes on that can be refreshed no more."""


def sessions_of(connection: Connection, name: str) -> Sequence[str] | None:
    """The sessions of a user that nobody has ended, the oldest first; None for nobody."""
    user = user_row(connection, name)
    return None if user is None else user["sessions"]


async def shown(call: Call, sessions: Sequence[str]) -> list[dict[str, Any]]:
    """These sessions as they are told of, the newest first, but for those that nobody refreshed in time."""
    now, current = call.given.clock.now(), call.signed_in.session_id
    unused = await _unused_s(call, sessions)
    return [
        {
            "session": session,
            "begun_at": _text(began_at(session)),
            "refreshed_at": _text(now - timedelta(seconds=unused[session])) if unused and session in unused else None,
            "begun_by": "identity_provider" if begun_by_provider(session) else "password",
            "current": session == current,
        }
        for session in reversed(sessions)
        if session == current or not _is_over(session, unused, now)
    ]


def _is_over(session: str, unused: Mapping[str, float] | None, now: datetime) -> bool:
    """Whether no token of it is good any more. One that the session store does not know may be one that it lost: only of one that
    began long enough ago it is sure that nobody refreshed it since the store has kept it.
    """
    if not may_go_on(session, now - _LAST_ACCESS):
        return True
    return unused is not None and session not in unused and now - began_at(session) > timedelta(seconds=REFRESH_S) + _LAST_ACCESS


async def _unused_s(call: Call, sessions: Sequence[str]) -> Mapping[str, float] | None:
    """What the session store knows of these; None while it cannot be asked."""
    try:
        return await call.given.sessions.unused_s(sessions) if sessions else {}
    except SessionsUnavailable:
        return None


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")

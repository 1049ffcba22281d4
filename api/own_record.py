"""How does something that a request did not ask for get into the log: that somebody signed in, that sessions are over?"""

import hashlib
import hmac
import logging
from dataclasses import replace
from typing import Any

from api.call import Call, Caller
from api.problem_details import Problem
from api.sessions import SessionsUnavailable
from api.submit import Pending, Write, outcome_of
from domain.identity import USER, stream_of
from domain.user.messages import EndSessions
from schemas.actor import Actor

log = logging.getLogger(__name__)


async def record(call: Call, user: str, command: Any, actor: Actor | None = None) -> int:
    """Append what `command` causes to the user's stream, by the user unless said: the stream's version then. See `recorded`."""
    return await recorded(own_write(call, user, actor), command)


def own_write(call: Call, user: str, actor: Actor | None = None) -> Write:
    """A write on the user's stream, by the user unless said, as if the user had asked for it."""
    return write_by(call, stream_of(USER, user), Caller(actor or Actor("user", user), user))


def write_by(call: Call, stream: str, caller: Caller) -> Write:
    """A write on the stream that `caller` asks for, whatever the request under way is."""
    key = str(call.given.ids.new_id())
    said = hmac.new(call.given.keys.fingerprints, f"{stream}\0{key}".encode(), hashlib.sha256).hexdigest()
    return Write(replace(call, caller=caller), stream, key, False, said, None)


async def recorded(write: Write, command: Any, late: str = "sessions_unavailable") -> int:
    """Append what `command` causes: the stream's version then.

    Raises `Rejection` when it is none of that, or another `Problem`: `late` when it is not known to be recorded in time.
    """
    try:
        return (await outcome_of(write, command)).version
    except Pending:
        raise Problem(late, "it could not be recorded in time") from None


async def record_in_force(call: Call, user: str, command: Any) -> None:
    """The same by the user, and wait until the read model that requests are judged by shows it."""
    await in_force_once_recorded(own_write(call, user), command)


async def end_own_sessions(call: Call, ends: tuple[str, ...]) -> None:
    """End those of these sessions that are the caller's. The log is what counts; the session store makes it known sooner."""
    await record_in_force(call, call.signed_in.user, EndSessions(ends, "sign_out"))
    try:
        for session_id in ends:
            if await call.given.sessions.user_of(session_id) == call.signed_in.user:
                await call.given.sessions.revoke(session_id)
    except SessionsUnavailable:
        log.warning("an ended session is known from the log alone: the session store cannot be asked")


async def in_force_once_recorded(write: Write, command: Any) -> None:
    """The same for a write that was begun already."""
    version = await recorded(write, command)
    await write.call.services.freshness.versions([(write.stream, version)], ("users",))

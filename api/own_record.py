"""How does something that a request did not ask for get into the log: that somebody signed in, that sessions are over?"""

import hashlib
import hmac
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from api.call import Call, Caller
from api.in_force import judged_by
from api.problem_details import Problem
from api.sessions import SessionsUnavailable
from api.submit import Pending, Write, outcome_of
from domain.identity import USER, name_of, stream_of
from domain.user.messages import EndSessions
from schemas.actor import Actor
from schemas.outcome import Accepted

log = logging.getLogger(__name__)


async def record(call: Call, user: str, command: Any, actor: Actor | None = None) -> Accepted:
    """Append what `command` causes to the user's stream, by the user unless said. See `recorded`."""
    return await recorded(own_write(call, user, actor), command)


def own_write(call: Call, user: str, actor: Actor | None = None) -> Write:
    """A write on the user's stream, by the user unless said, as if the user had asked for it."""
    return write_by(call, stream_of(USER, user), Caller(actor or Actor("user", user), user))


def write_by(call: Call, stream: str, caller: Caller) -> Write:
    """A write on the stream that `caller` asks for, whatever the request under way is."""
    key = str(call.given.ids.new_id())
    said = hmac.new(call.given.keys.fingerprints, f"{stream}\0{key}".encode(), hashlib.sha256).hexdigest()
    return Write(replace(call, caller=caller), stream, key, False, said, None)


async def recorded(write: Write, command: Any) -> Accepted:
    """Append what `command` causes: the stream's version then, and which events these are.

    Raises `Rejection` when it is none of that, or another `Problem`: `result_unknown` when it is not decided in time.
    """
    try:
        return await outcome_of(write, command)
    except Pending:
        raise Problem("result_unknown", "it was not decided in time whether this is recorded; it may still be") from None


async def record_in_force(call: Call, user: str, command: Any) -> None:
    """The same by the user, and wait until the read model that requests are judged by shows it."""
    await in_force_once_recorded(own_write(call, user), command)


async def end_sessions(write: Write, command: EndSessions, known: Iterable[str]) -> bool:
    """End sessions of a user: whether there was one to end. Which ones is decided in the log, whatever the read model knows; of
    those that are `known` the session store is told, too, for all who ask it before the read model has come so far. Raises
    `Problem` when one of them may go on for now: it is unknown to the store, and the read model is behind.
    """
    accepted = await recorded(write, command)
    everywhere = await _revoked(write, known)
    if not await judged_by(write, accepted.version) and not everywhere:
        raise Problem("projection_lag", "it is in the log; a session may go on until the read model of users has come so far")
    return bool(accepted.event_ids)


async def _revoked(write: Write, known: Iterable[str]) -> bool:
    """Tell the session store that these have ended: whether it knows so of all of them."""
    sessions, user, everywhere = write.call.given.sessions, name_of(write.stream), True
    try:
        for session_id in known:
            owner = await sessions.user_of(session_id)
            if owner == user:
                await sessions.revoke(session_id)
            everywhere = everywhere and (owner is not None or await sessions.is_revoked(session_id))
    except SessionsUnavailable:
        log.warning("an ended session is known from the log alone: the session store cannot be asked")
        return False
    return everywhere


async def in_force_once_recorded(write: Write, command: Any) -> None:
    """The same for a write that was begun already."""
    accepted = await recorded(write, command)
    await write.call.services.freshness.versions([(write.stream, accepted.version)], ("users",))

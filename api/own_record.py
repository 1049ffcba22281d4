"""How does something that a request did not ask for get into the log: that somebody signed in, that sessions are over?"""

import hashlib
import hmac
from dataclasses import replace
from typing import Any

from api.call import Call, Caller
from api.problem_details import Problem
from api.submit import Pending, Write, outcome_of
from domain.identity import USER, stream_of
from schemas.actor import Actor


async def record(call: Call, user: str, command: Any, actor: Actor | None = None) -> int:
    """Append what `command` causes to the user's stream, by the user unless said: the stream's version then. See `recorded`."""
    return await recorded(call, stream_of(USER, user), command, Caller(actor or Actor("user", user), user))


async def recorded(call: Call, stream: str, command: Any, by: Caller) -> int:
    """Append what `command` causes to the stream: its version then.

    Raises `Rejection` when it is none of that, or another `Problem` when it is not known to be recorded in time.
    """
    key = str(call.given.ids.new_id())
    said = hmac.new(call.given.keys.fingerprints, f"{stream}\0{key}".encode(), hashlib.sha256).hexdigest()
    asking = replace(call, caller=by)
    try:
        return (await outcome_of(Write(asking, stream, key, False, said, None), command)).version
    except Pending:
        raise Problem("sessions_unavailable", "it could not be recorded in time") from None


async def record_in_force(call: Call, user: str, command: Any) -> None:
    """The same by the user, and wait until the read model that requests are judged by shows it."""
    version = await record(call, user, command)
    await call.services.freshness.versions([(stream_of(USER, user), version)], ("users",))

"""What happened, who did it, and what became of a command?"""

from collections.abc import AsyncGenerator
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement
from starlette.responses import Response

from api import shapes
from api.call import Call, json_answer, list_answer
from api.filters import chosen, moment
from api.freshness import MAIN
from api.live import LongAnswer, follow_events
from api.permit import Denied
from api.problem_details import Problem
from api.queries import audit
from api.queries.seen import events_seen, list_of_events_seen
from api.routes.route import PAGED, Route
from api.strict_json import optional_body_of
from projections.tables import events, stored_time
from schemas.http import closed
from schemas.http.run import NoBody
from schemas.outcome import Accepted, Outcome

_FILTERS = (*audit.EXACT, "from", "to", "q")
_EXPORTED_AT_ONCE = 500


async def listed(call: Call) -> Response:
    """Events of all streams, filtered."""
    exact, conditions = _asked(call)
    page = call.page(audit.STREAM_ORDERS, "version") if "stream" in exact else call.page(audit.ORDERS, "time")
    seen = list_of_events_seen(call.signed_in)
    return list_answer(*await call.models.ask(lambda connection: audit.listed(connection, page, exact, conditions, seen)))


def _asked(call: Call) -> tuple[dict[str, str], list[ColumnElement[bool]]]:
    """The filters: columns that must equal something, and conditions. Raises `Problem`."""
    exact, conditions = chosen(call.query, audit.EXACT), list[ColumnElement[bool]]()
    if (begin := moment(call.query, "from")) is not None:
        conditions.append(events.c.time >= begin)
    if (end := moment(call.query, "to")) is not None:
        conditions.append(events.c.time < end)
    if words := chosen(call.query, ("q",)):
        conditions.append(audit.containing(words["q"]))
    return exact, conditions


async def export(call: Call) -> Response:
    """Every event there is now and that passes the filters, by time, one JSON object a line."""
    exact, conditions = _asked(call)
    conditions += events_seen(call.signed_in)
    call.services.streams.check(call.signed_in.user)
    await call.services.freshness.log_end(MAIN, ("events",))
    conditions.append(events.c.time <= stored_time(call.given.clock.now()))
    return LongAnswer(call, _lines(call, exact, conditions), "application/x-ndjson")


async def _lines(call: Call, exact: dict[str, str], conditions: list[ColumnElement[bool]]) -> AsyncGenerator[bytes]:
    place: audit.Place | None = None
    while True:
        items, place = await call.models.ask(
            lambda connection, after=place: audit.following(connection, exact, conditions, after, _EXPORTED_AT_ONCE)  # type: ignore[misc]
        )
        yield b"".join(orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE) for item in items)
        if place is None:
            return


async def verify(call: Call) -> Response:
    """Read the whole log and check every event's hash and its tie to the event before it; names the first bad one."""
    if not call.signed_in.is_unlimited("audit.read"):
        raise Denied("audit.read", "the log is checked as a whole: this takes audit.read without limits")
    body = await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    if call.services.log_check.under_way.locked():
        raise Problem("overloaded", "the log is being checked already")
    return json_answer(await call.services.log_check.run())


async def stream(call: Call) -> Response:
    """New events of all streams as they come, or those after `Last-Event-ID` (SSE)."""
    return await follow_events(call, chosen(call.query, audit.EXACT))


async def show(call: Call) -> Response:
    """One event."""
    event_id = _uuid(call.path("event"))
    is_seen = events_seen(call.signed_in)
    found = await call.models.ask(lambda connection: audit.one(connection, event_id, is_seen)) if event_id else None
    if found is None:
        raise Problem("event_not_found")
    return json_answer(found)


_AGAIN = {"Retry-After": "1"}


async def command(call: Call) -> Response:
    """What became of a command: accepted, rejected, or not known (yet, or any more)."""
    command_id = _uuid(call.path("command"))
    if command_id is None:
        raise _nothing_known()
    outcome = await call.given.outcomes.find(UUID(command_id))
    if outcome is not None:
        _must_be_mine(call, outcome.actor.name)
        return json_answer(_shown(outcome))
    event = await call.models.ask(lambda connection: audit.of_command(connection, command_id))
    if event is None:
        return _not_known(call, command_id)
    _must_be_mine(call, event["actor_name"])
    return json_answer({"command_id": command_id, "state": "accepted", "stream": event["stream"], "version": event["version"]})


def _not_known(call: Call, command_id: str) -> Response:
    """What this server sent itself is not known yet; of anything else nothing is known here (yet, or any more)."""
    sender = call.services.awaited.sender_of(UUID(command_id))
    if sender is None:
        raise _nothing_known()
    _must_be_mine(call, sender)
    return json_answer({"command_id": command_id, "state": "unknown"}, headers=_AGAIN)


def _shown(outcome: Outcome) -> dict[str, object]:
    body: dict[str, object] = {
        "command_id": str(outcome.command_id),
        "stream": outcome.stream,
        "type": outcome.type,
        "time": outcome.time.isoformat().replace("+00:00", "Z"),
        "correlation_id": outcome.correlation_id,
    }
    match outcome.result:
        case Accepted(version, event_ids):
            return {**body, "state": "accepted", "version": version, "event_ids": [str(e) for e in event_ids]}
        case rejected:
            errors = [{"field": error.field, "message": error.message} for error in rejected.errors]
            return {**body, "state": "rejected", "code": rejected.code, "detail": rejected.message, "errors": errors}


def _must_be_mine(call: Call, name: str) -> None:
    """Somebody else's command is not told from one that is not there, unless the caller may read the whole audit trail."""
    if name != call.signed_in.actor.name and not call.signed_in.is_unlimited("audit.read"):
        raise _nothing_known()


def _nothing_known() -> Problem:
    return Problem("command_not_found", "no outcome is known under this id (yet, or any more)", headers=_AGAIN)


def _uuid(text: str) -> str | None:
    try:
        return str(UUID(text)) if len(text) == 36 else None
    except ValueError:
        return None


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/audit/events",
        gives=shapes.listed(shapes.EVENT),
        answer=listed,
        permission="audit.read",
        summary="Search the audit trail",
        query=PAGED | set(_FILTERS),
        reads=("events",),
    ),
    Route(
        method="GET",
        path="/api/v1/audit/events/{event}",
        gives=shapes.EVENT,
        answer=show,
        permission="audit.read",
        summary="Show an event",
        reads=("events",),
    ),
    Route(
        method="GET",
        path="/api/v1/audit/export",
        gives="application/x-ndjson",
        answer=export,
        permission="audit.read",
        summary="Export the audit trail (NDJSON)",
        query=frozenset(_FILTERS),
        reads=("events",),
    ),
    Route(
        method="POST",
        path="/api/v1/audit/verify",
        gives=shapes.CHECK,
        answer=verify,
        permission="audit.read",
        summary="Check the log's hash chains",
        takes=NoBody,
        example={},
    ),
    Route(
        method="GET",
        path="/api/v1/events/stream",
        gives="text/event-stream",
        answer=stream,
        permission="audit.read",
        summary="Follow new events (SSE)",
        query=frozenset(audit.EXACT),
        reads=("events",),
    ),
    Route(
        method="GET",
        path="/api/v1/commands/{command}",
        gives=shapes.OUTCOME,
        answer=command,
        permission="commands.read",
        summary="What became of a command",
    ),
)

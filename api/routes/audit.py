"""What happened, who did it, and what became of a command?"""

from uuid import UUID

from starlette.responses import Response

from api.call import Call, json_answer, list_answer
from api.filters import chosen, moment
from api.problem_details import Problem
from api.queries import audit
from api.routes.history import history_of
from api.routes.route import PAGED, Route
from domain.identity import USER
from projections.tables import events
from schemas.outcome import Accepted, Outcome

_FILTERS = (*audit.EXACT, "from", "to", "q")


async def listed(call: Call) -> Response:
    """Events of all streams, filtered."""
    exact = chosen(call.query, audit.EXACT)
    page = call.page(audit.STREAM_ORDERS, "version") if "stream" in exact else call.page(audit.ORDERS, "time")
    conditions = []
    if (begin := moment(call.query, "from")) is not None:
        conditions.append(events.c.time >= begin)
    if (end := moment(call.query, "to")) is not None:
        conditions.append(events.c.time < end)
    if words := chosen(call.query, ("q",)):
        conditions.append(audit.containing(words["q"]))
    return list_answer(*await call.models.ask(lambda connection: audit.listed(connection, page, exact, conditions)))


async def show(call: Call) -> Response:
    """One event."""
    event_id = _uuid(call.path("event"))
    found = await call.models.ask(lambda connection: audit.one(connection, event_id)) if event_id else None
    if found is None:
        raise Problem("event_not_found")
    return json_answer(found)


async def command(call: Call) -> Response:
    """What became of a command: accepted, rejected, or not known (yet, or any more)."""
    command_id = _uuid(call.path("command"))
    if command_id is None:
        raise Problem("command_not_found")
    outcome = await call.given.outcomes.find(UUID(command_id))
    if outcome is not None:
        _must_be_mine(call, outcome.actor.name)
        return json_answer(_shown(outcome))
    event = await call.models.ask(lambda connection: audit.of_command(connection, command_id))
    if event is None:
        return json_answer({"command_id": command_id, "state": "unknown"}, headers={"Retry-After": "1"})
    _must_be_mine(call, event["actor_name"])
    return json_answer({"command_id": command_id, "state": "accepted", "stream": event["stream"], "version": event["version"]})


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
    """Somebody else's command is not told from one that is not there, unless the caller may read the audit trail."""
    if name != call.signed_in.actor.name and not {"administrator", "auditor"} & set(call.signed_in.roles):
        raise Problem("command_not_found")


def _uuid(text: str) -> str | None:
    try:
        return str(UUID(text)) if len(text) == 36 else None
    except ValueError:
        return None


ROUTES = (
    Route(
        method="GET", path="/api/v1/audit/events", answer=listed, permission="audit.read", summary="Search the audit trail",
        query=PAGED | set(_FILTERS), reads=("events",),
    ),
    Route(
        method="GET", path="/api/v1/audit/events/{event}", answer=show, permission="audit.read", summary="Show an event",
        reads=("events",),
    ),
    Route(
        method="GET", path="/api/v1/commands/{command}", answer=command, permission="commands.read",
        summary="What became of a command",
    ),
    history_of("users", USER, "users.read"),
)  # fmt: skip

"""Who asks? Only the access token says so; no other header is believed (HAZARDS §4 case 17)."""

from typing import Any

from sqlalchemy import Connection, bindparam, select
from starlette.requests import Request

from api.call import Caller, Services
from api.conditions import all_of
from api.problem_details import Problem
from api.sessions import SessionsUnavailable
from api.tokens import NotAuthentic
from projections.tables import users
from schemas.actor import Actor

_USER = select(users).where(users.c.name == bindparam("name"))
"""Asked with every request, and made once: making a statement takes longer than answering it."""


async def caller_of(request: Request, services: Services) -> Caller:
    """The user whose token the request carries, with the roles they have now. Raises `Problem` (401)."""
    scheme, _, token = (all_of(request.headers, "authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Problem("unauthenticated")
    given = services.given
    try:
        access = given.tokens.verify(token.strip(), given.clock.now())
    except NotAuthentic:
        raise Problem("unauthenticated") from None
    if await _is_revoked(services, access.session_id):
        raise Problem("unauthenticated")
    user = await services.models.ask(lambda connection: user_row(connection, access.user))
    if user is None:
        raise Problem("unauthenticated")
    return Caller(Actor("user", access.user), tuple(user["roles"]), access.session_id)


async def _is_revoked(services: Services, session_id: str) -> bool:
    try:
        return await services.given.sessions.is_revoked(session_id)
    except SessionsUnavailable:
        return False  # an access token then lives on, for at most its own lifetime (see api.sessions)


def user_row(connection: Connection, name: str) -> dict[str, Any] | None:
    """A user as the read model has it."""
    row = connection.execute(_USER, {"name": name}).mappings().one_or_none()
    return dict(row) if row else None

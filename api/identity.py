"""Who asks? Only the access token says so; no other header is believed (HAZARDS §4 case 17)."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select
from starlette.requests import Request

from api.api_tokens import PREFIX, caller_with, presented, token_in
from api.call import Caller, Services
from api.conditions import all_of
from api.problem_details import Problem
from api.sessions import SessionsUnavailable
from api.tokens import NotAuthentic
from domain.access import may
from projections.tables import users
from schemas.actor import Actor

_USER = select(users).where(users.c.name == bindparam("name"))
"""Asked with every request, and made once: making a statement takes longer than answering it."""


async def caller_of(request: Request, services: Services) -> Caller:
    """The user whose token the request carries, with the roles they have now. Raises `Problem` (401)."""
    scheme, _, token = (all_of(request.headers, "authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Problem("unauthenticated")
    text = token.strip()
    caller = await (_by_api_token(text, services) if text.startswith(PREFIX) else _by_access_token(text, services))
    if caller is None:
        raise Problem("unauthenticated")
    return caller


async def _by_access_token(text: str, services: Services) -> Caller | None:
    try:
        access = services.given.tokens.verify(text, services.given.clock.now())
    except NotAuthentic:
        return None
    if await _is_revoked(services, access.session_id):
        return None
    user = await _acting(services, access.user)
    if user is None or access.session_id not in user["sessions"]:
        return None
    return Caller(Actor("user", access.user), access.user, tuple(user["roles"]), access.session_id)


async def _by_api_token(text: str, services: Services) -> Caller | None:
    shown = presented(text)
    if shown is None or (user := await _acting(services, shown.user)) is None:
        return None
    return await caller_with(shown, user, services.given.vault, services.given.clock.now())


async def _acting(services: Services, name: str) -> dict[str, Any] | None:
    """The user, unless disabled."""
    user = await services.models.ask(lambda connection: user_row(connection, name))
    return None if user is None or user["disabled"] else user


def may_still(connection: Connection, caller: Caller, permission: str, now: datetime) -> bool:
    """Whether a caller, who might once, may now: for answers that go on. That an access token expires ends none of them."""
    user = user_row(connection, caller.user)
    if user is None or user["disabled"] or not may(tuple(user["roles"]), permission):
        return False
    if caller.session_id is not None:
        return caller.session_id in user["sessions"]
    return token_in(user, caller.actor.name.partition("/")[2], now) is not None


async def _is_revoked(services: Services, session_id: str) -> bool:
    try:
        return await services.given.sessions.is_revoked(session_id)
    except SessionsUnavailable:
        return False  # the read model of users knows it, too, a moment later


def user_row(connection: Connection, name: str) -> dict[str, Any] | None:
    """A user as the read model has it."""
    row = connection.execute(_USER, {"name": name}).mappings().one_or_none()
    return dict(row) if row else None

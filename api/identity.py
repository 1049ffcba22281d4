"""Who asks? Only the access token says so; no other header is believed (HAZARDS §4 case 17)."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select
from starlette.requests import Request

from api.api_tokens import PREFIX, caller_with, presented, token_in
from api.call import Caller, Services
from api.conditions import all_of
from api.granted import granted_in
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
    return Caller(Actor("user", access.user), access.user, tuple(user["roles"]), access.session_id, granted=user["granted"])


async def _by_api_token(text: str, services: Services) -> Caller | None:
    shown = presented(text)
    if shown is None or (user := await _acting(services, shown.user)) is None:
        return None
    return await caller_with(shown, user, services.given.vault, services.given.clock.now())


async def _acting(services: Services, name: str) -> dict[str, Any] | None:
    """The user with what the roles grant, unless disabled; of one snapshot."""
    return await services.models.ask(lambda connection: acting_user(connection, name))


def acting_user(connection: Connection, name: str) -> dict[str, Any] | None:
    """The user as the read model has it, and as `granted` what the user's roles grant; None for nobody and when disabled."""
    user = user_row(connection, name)
    if user is None or user["disabled"]:
        return None
    return {**user, "granted": granted_in(connection, user["roles"])}


def caller_still(connection: Connection, caller: Caller, permission: str, now: datetime) -> Caller | None:
    """A caller, who might once, with what is granted now, for answers that go on; None when it is not permitted any more.

    That an access token expires ends none of them.
    """
    user = acting_user(connection, caller.user)
    if user is None:
        return None
    if caller.session_id is not None:
        is_good = caller.session_id in user["sessions"]
    else:
        is_good = token_in(user, caller.actor.name.partition("/")[2], now) is not None
    current = replace(caller, roles=tuple(user["roles"]), granted=user["granted"])
    return current if is_good and current.may(permission) else None


async def _is_revoked(services: Services, session_id: str) -> bool:
    try:
        return await services.given.sessions.is_revoked(session_id)
    except SessionsUnavailable:
        return False  # the read model of users knows it, too, a moment later


def user_row(connection: Connection, name: str) -> dict[str, Any] | None:
    """A user as the read model has it."""
    row = connection.execute(_USER, {"name": name}).mappings().one_or_none()
    return dict(row) if row else None

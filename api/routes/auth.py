"""How does somebody sign in, go on and sign out?"""

import asyncio
import base64
import logging
from typing import Any
from urllib.parse import parse_qsl

from starlette.responses import Response

from api import passwords, shapes
from api.call import Call, json_answer
from api.identity import user_row
from api.permission import permissions_of
from api.problem_details import Problem, wrong
from api.routes.route import Route
from api.sessions import REFRESH_S, Session, SessionsUnavailable, hash_of
from api.sign_in_limit import keys_of, wait_before
from api.strict_json import body_of, optional_body_of
from api.tokens import ACCESS_S, Access
from domain.identity import USER, is_slug
from schemas.http.auth import LogoutBody, RefreshBody
from schemas.http.closed import read
from schemas.log import LogError
from schemas.vault import SecretUnavailable, bound_to_user

log = logging.getLogger(__name__)

_FORM = "application/x-www-form-urlencoded"
_FIELDS = frozenset({"grant_type", "username", "password", "scope", "client_id", "client_secret"})
_MAX_FIELDS = 20
_NO_NAME = "-"
"""What no user and no secret is called."""


async def token(call: Call) -> Response:
    """Sign in with the OAuth2 password form."""
    form = _form(call, await call.request.body())
    name, password = form["username"], form["password"]
    address = call.request.client.host if call.request.client else "unknown"
    attempts, counted = call.given.attempts, call.services.metrics.sign_ins
    if wait := await wait_before(attempts, name, address):
        counted.labels("limited").inc()
        raise Problem("rate_limited", f"try again in {wait} s", headers={"Retry-After": str(wait)})
    by_account, by_address = keys_of(name, address)
    await attempts.failed(by_account)  # counted before it is looked at, so that attempts at once are no way round
    if not await _is_right(call, name, password):
        await attempts.failed(by_address)
        counted.labels("refused").inc()
        raise Problem("invalid_credentials")
    await attempts.forget(by_account)
    counted.labels("accepted").inc()
    return await _begin_session(call, name)


def _form(call: Call, raw: bytes) -> dict[str, str]:
    if call.request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise Problem("unsupported_media_type", f"send {_FORM}")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise Problem("malformed_form") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise Problem("malformed_form", "a field is there twice")
    for name in sorted(form.keys() - _FIELDS):
        raise wrong(name if name.isascii() and name.isidentifier() else "form", "is not known here")
    for name in ("grant_type", "username", "password"):
        if not form.get(name):
            raise wrong(name, "is required")
    if form["grant_type"] != "password":
        raise wrong("grant_type", "must be password")
    return form


async def _is_right(call: Call, name: str, password: str) -> bool:
    try:
        await call.services.freshness.log_end([USER])  # a user made or changed a moment ago is known as such
    except (Problem, LogError) as error:
        log.warning("users may be out of date: %s", type(error).__name__)
    kept = await _kept_hash(call, name if is_slug(name) else _NO_NAME)
    async with call.services.hashing:
        return await asyncio.get_running_loop().run_in_executor(call.given.threads, passwords.matches, kept, password)


async def _kept_hash(call: Call, name: str) -> bytes | None:
    """The user's password hash. For an unknown one the vault is asked all the same, so that it takes as long."""
    user = await call.models.ask(lambda connection: user_row(connection, name))
    try:
        return await call.given.vault.open(user["password"] if user else _NO_NAME, bound_to_user(name))
    except SecretUnavailable:
        return None


async def _begin_session(call: Call, name: str) -> Response:
    session_id, secret = str(call.given.ids.new_id()), _new_secret(call)
    try:
        await call.given.sessions.begin(Session(session_id, name, hash_of(secret)))
    except SessionsUnavailable:
        return _tokens(call, name, session_id, None)  # signed in, until the access token expires
    return _tokens(call, name, session_id, secret)


def _tokens(call: Call, name: str, session_id: str, secret: str | None) -> Response:
    access = call.given.tokens.sign(Access(name, session_id), call.given.ids.new_id(), call.given.clock.now())
    body: dict[str, Any] = {
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": ACCESS_S,
        "refresh_token": f"{session_id}.{secret}" if secret else None,
        "refresh_expires_in": REFRESH_S if secret else None,
    }
    return json_answer(body)


def _new_secret(call: Call) -> str:
    return base64.urlsafe_b64encode(call.given.ids.random_bytes(32)).rstrip(b"=").decode()


async def refresh(call: Call) -> Response:
    """Trade the refresh token for new tokens; it is good once."""
    body = await body_of(call.request)
    session_id, _, secret = read(RefreshBody, body.raw, body.plain).refresh_token.partition(".")
    following = _new_secret(call)
    try:
        user = await call.given.sessions.user_of(session_id)
        if user is None or await call.given.sessions.refresh(session_id, hash_of(secret), hash_of(following)) != "refreshed":
            raise Problem("invalid_refresh_token")
    except SessionsUnavailable:
        raise Problem("sessions_unavailable") from None
    if await call.models.ask(lambda connection: user_row(connection, user)) is None:
        raise Problem("invalid_refresh_token")
    return _tokens(call, user, session_id, following)


async def logout(call: Call) -> Response:
    """End the session of the access token, or of a refresh token of the same user."""
    body = await optional_body_of(call.request)
    given = read(LogoutBody, body.raw, body.plain).refresh_token
    ends = [call.signed_in.session_id]
    try:
        if given is not None and await call.given.sessions.user_of(other := given.partition(".")[0]) == call.signed_in.actor.name:
            ends.append(other)
        for session_id in ends:
            await call.given.sessions.revoke(session_id)
    except SessionsUnavailable:
        raise Problem("sessions_unavailable", "the session could not be ended; the access token expires by itself") from None
    return json_answer({"signed_out": True})


async def keys(call: Call) -> Response:
    """The public keys that access tokens are signed with."""
    return json_answer(call.given.tokens.jwks(), headers={"Cache-Control": "public, max-age=300"})


async def me(call: Call) -> Response:
    """Who is signed in."""
    caller = call.signed_in
    return json_answer({"name": caller.actor.name, "roles": list(caller.roles), "permissions": permissions_of(caller.roles)})


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/auth/token",
        gives=shapes.TOKENS,
        answer=token,
        permission=None,
        summary="Sign in (OAuth2 password form)",
    ),
    Route(
        method="POST",
        path="/api/v1/auth/refresh",
        gives=shapes.TOKENS,
        answer=refresh,
        permission=None,
        summary="Renew the tokens",
        takes=RefreshBody,
        example={"refresh_token": "0190….kJ3…"},
    ),
    Route(
        method="POST",
        path="/api/v1/auth/logout",
        gives=shapes.SIGNED_OUT,
        answer=logout,
        permission="self.read",
        summary="Sign out",
        takes=LogoutBody,
        example={},
    ),
    Route(
        method="GET",
        path="/.well-known/jwks.json",
        gives=shapes.KEYS,
        answer=keys,
        permission=None,
        summary="Public signing keys",
    ),
    Route(
        method="GET",
        path="/api/v1/me",
        gives=shapes.ME,
        answer=me,
        permission="self.read",
        summary="Who is signed in",
        reads=("users",),
    ),
)

"""How does somebody sign in, go on and sign out?"""

import logging
from typing import Any
from urllib.parse import parse_qsl

from starlette.responses import Response

from api import refresh_tokens, shapes
from api.account import NO_NAME, attempted, is_password_of, new_secret, signed_in_person
from api.call import Call, json_answer
from api.identity import user_row
from api.own_record import end_sessions, own_write, record, record_in_force
from api.problem_details import Problem, wrong
from api.refresh_tokens import RefreshToken
from api.routes.route import Route
from api.sessions import REFRESH_S, Session, SessionsUnavailable, hash_of
from api.sign_in_flow import may_go_on
from api.strict_json import body_of, optional_body_of
from api.submit import Rejection
from api.tokens import ACCESS_S, Access
from domain.identity import USER, is_slug
from domain.user.messages import EndSessions, RecordSignIn
from schemas.actor import ANONYMOUS
from schemas.http.auth import LogoutBody, RefreshBody
from schemas.http.closed import read
from schemas.log import LogError

log = logging.getLogger(__name__)

_FORM = "application/x-www-form-urlencoded"
_FIELDS = frozenset({"grant_type", "username", "password", "scope", "client_id", "client_secret"})
_MAX_FIELDS = 20


async def token(call: Call) -> Response:
    """Sign in with the OAuth2 password form."""
    form = _form(call, await call.request.body())
    name, password = form["username"], form["password"]
    counted = call.services.metrics.sign_ins
    proved = await attempted(call, name, lambda: _proved(call, name, password))
    if proved is None:
        counted.labels("refused").inc()
        raise Problem("invalid_credentials")
    session_id = str(call.given.ids.new_id())
    try:
        await record_in_force(call, name, RecordSignIn(session_id, proved))
    except Rejection:  # disabled, or given another password, a moment ago
        raise Problem("invalid_credentials") from None
    counted.labels("accepted").inc()
    return await begin_session(call, name, session_id)


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


async def _proved(call: Call, name: str, password: str) -> str | None:
    """The id of the password of a user who may sign in, if this is it."""
    await call.services.anybody.awaited()
    try:
        await call.services.freshness.log_end([USER])  # a user made or changed a moment ago is known as such
    except (Problem, LogError) as error:
        log.warning("users may be out of date: %s", type(error).__name__)
    known = name if is_slug(name) else NO_NAME
    user = await call.models.ask(lambda connection: user_row(connection, known))
    right = await is_password_of(call, user, known, password)
    if user is not None and not right:
        call.services.sign_in_failures.note(known, "", call.given.clock.now(), lambda told: record(call, known, told, ANONYMOUS))
    return user["password"] if right and user is not None and not user["disabled"] else None


async def begin_session(call: Call, name: str, session_id: str) -> Response:
    """The first tokens of a session that is in the log. Raises `Problem` for one that has had them."""
    first = refresh_tokens.first(call.given.keys.fingerprints, session_id, new_secret(call))
    try:
        if not await call.given.sessions.begin(Session(session_id, name, hash_of(first.secret))):
            raise Problem("invalid_sign_in")
    except SessionsUnavailable:
        return _tokens(call, name, session_id, None)  # signed in, until the access token expires
    return _tokens(call, name, session_id, first)


def _tokens(call: Call, name: str, session_id: str, renewal: RefreshToken | None) -> Response:
    access = call.given.tokens.sign(Access(name, session_id), call.given.ids.new_id(), call.given.clock.now())
    body: dict[str, Any] = {
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": ACCESS_S,
        "refresh_token": renewal.text if renewal else None,
        "refresh_expires_in": REFRESH_S if renewal else None,
    }
    return json_answer(body)


async def refresh(call: Call) -> Response:
    """Trade the refresh token for new tokens; it is good once."""
    body, key = await body_of(call.request), call.given.keys.fingerprints
    shown = refresh_tokens.presented(key, read(RefreshBody, body.raw, body.plain).refresh_token)
    if shown is None:
        raise Problem("invalid_refresh_token")
    session_id, following = shown.session_id, refresh_tokens.after(key, shown)
    if not may_go_on(session_id, call.given.clock.now()):
        raise Problem("invalid_refresh_token")
    try:
        name = await call.given.sessions.user_of(session_id)
        user = None if name is None else await call.models.ask(lambda connection: user_row(connection, name))
        if name is None or user is None or session_id not in user["sessions"]:
            raise Problem("invalid_refresh_token")
        refreshed = await call.given.sessions.refresh(session_id, hash_of(shown.secret), hash_of(following.secret))
    except SessionsUnavailable:
        raise Problem("sessions_unavailable") from None
    if refreshed == "reused":
        await record_in_force(call, name, EndSessions((session_id,), "refresh_token_reused"))
    if refreshed != "refreshed":
        raise Problem("invalid_refresh_token")
    return _tokens(call, name, session_id, following)


async def logout(call: Call) -> Response:
    """End the session of the access token, and that of a refresh token of the same user."""
    body = await optional_body_of(call.request)
    given = read(LogoutBody, body.raw, body.plain).refresh_token
    other = refresh_tokens.presented(call.given.keys.fingerprints, given) if given is not None else None
    ends = (signed_in_person(call), *([other.session_id] if other else []))
    await end_sessions(own_write(call, call.signed_in.user), EndSessions(ends, "sign_out"), ends)
    return json_answer({"signed_out": True})


async def keys(call: Call) -> Response:
    """The public keys that access tokens are signed with."""
    return json_answer(call.given.tokens.jwks(), headers={"Cache-Control": "public, max-age=300"})


async def me(call: Call) -> Response:
    """Who is signed in."""
    caller = call.signed_in
    return json_answer({"name": caller.user, "roles": list(caller.roles), "permissions": caller.permissions})


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

"""What can be done with API tokens? One's own by whoever has signed in, everybody's by who may change users."""

from uuid import UUID, uuid5

import orjson
from starlette.responses import Response

from api import shapes
from api.account import new_secret, signed_in_person
from api.api_tokens import hashed, written
from api.call import Call, json_answer
from api.giving import account_managed, managed
from api.in_force import in_force
from api.permit import Denied
from api.problem_details import wrong
from api.queries import users
from api.references import found
from api.routes.names import absent, slug
from api.routes.route import Route
from api.sealing import sealing
from api.strict_json import body_of, optional_body_of
from api.submit import Said, accepted_answer, remembered, submit, write_of
from domain.identity import USER, stream_of
from domain.user.messages import IssueToken, RevokeToken
from schemas.http import closed
from schemas.http.run import NoBody
from schemas.http.user import NewToken
from schemas.vault import bound_to_token

_TOKENS = UUID("7d1cbbf0-0c2b-5f5e-9d0c-2f0f7a6d9c05")


def _account(call: Call) -> str:
    """Whose tokens the path names. Raises `Problem` unless the caller may manage them."""
    signed_in_person(call)
    name = slug(call, USER)
    if name != call.signed_in.user and not call.signed_in.may("users.write"):
        raise Denied("users.write", "the tokens of others take the permission users.write")
    return name


async def issue(call: Call) -> Response:
    """Issue an API token. It is shown in one answer and never again: sent again under its key, the answer is without it."""
    name = _account(call)
    body = await body_of(call.request)
    asked = closed.read(NewToken, body.raw, body.plain)
    if asked.expires_at.tzinfo is None or asked.expires_at <= call.given.clock.now():
        raise wrong("expires_at", "must be an RFC 3339 time to come")
    write = write_of(call, stream_of(USER, name), body)
    token = str(uuid5(_TOKENS, str(write.command_id())))
    said = Said(f"/users/{name}/tokens", {"name": name, "token_id": token}, 201)
    if before := await remembered(write, IssueToken):
        return _with_token(accepted_answer(write, said, *before), None)
    write = await managed(write)
    async with sealing(call.given.vault, write) as sealer:
        secret, bound_to = new_secret(call), bound_to_token(name, token)
        ident = await sealer.seal(token, bound_to, hashed(secret))
        is_kept = await call.given.vault.open(ident, bound_to) == hashed(secret)  # not that of the same request, sent before
        command = IssueToken(token, asked.title, ident, asked.permissions, asked.expires_at)
        answer = await in_force(write, await submit(write, command, said))
        return _with_token(answer, written(name, token, secret) if is_kept else None)


def _with_token(answer: Response, token: str | None) -> Response:
    body = orjson.loads(bytes(answer.body))
    headers = {key: value for key, value in answer.headers.items() if key not in ("content-length", "content-type")}
    return json_answer({**body, "token": token}, answer.status_code, {**headers, "Cache-Control": "no-store"})


async def listed(call: Call) -> Response:
    """A user's API tokens, never their secrets."""
    name = _account(call)
    await account_managed(call, name)
    tokens = await found(call, USER, lambda connection: users.tokens_of(connection, name))
    if tokens is None:
        raise absent(USER)
    return json_answer({"items": tokens, "next_cursor": None})


async def revoke(call: Call) -> Response:
    """Revoke an API token: it is good no more."""
    name = _account(call)
    body = await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    said = Said(f"/users/{name}/tokens", {"name": name})
    write = await managed(write_of(call, stream_of(USER, name), body))
    return await in_force(write, await submit(write, RevokeToken(call.path("token")), said))


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/users/{name}/tokens",
        gives=shapes.ISSUED_TOKEN,
        answer=issue,
        permission="self.write",
        status=201,
        summary="Issue an API token",
        takes=NewToken,
        example={"title": "CI", "permissions": ["jobs.read", "runs.start"], "expires_at": "2027-01-01T00:00:00Z"},
    ),
    Route(
        method="GET",
        path="/api/v1/users/{name}/tokens",
        gives=shapes.listed(shapes.API_TOKEN),
        answer=listed,
        permission="self.read",
        summary="List a user's API tokens",
        reads=("users",),
    ),
    Route(
        method="DELETE",
        path="/api/v1/users/{name}/tokens/{token}",
        gives=shapes.written("user", name="alice"),
        answer=revoke,
        permission="self.write",
        summary="Revoke an API token",
    ),
)

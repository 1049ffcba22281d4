"""What can be done with the keys that sign access tokens? Nobody ever sees their private parts.

Whoever takes one away ends everybody's access tokens. So that has a permission of its own, and takes a sign-in: an API token
cannot do it. What is done stands in the log, before it is done: when the vault then fails, asking again makes it good.
"""

from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from api import shapes, signing_keys
from api.account import signed_in_person
from api.call import Call, json_answer
from api.own_record import recorded, write_by
from api.routes.route import Route
from api.shapes import Shape
from api.strict_json import optional_body_of
from api.tokens import SigningKey
from domain.identity import KEYS
from domain.key import AddSigningKey, RetireSigningKey
from schemas.http import closed
from schemas.http.auth import NewSigningKey
from schemas.http.run import NoBody


def _shown(call: Call, key: SigningKey) -> dict[str, Any]:
    now = call.given.clock.now()
    starts = datetime.fromtimestamp(key.signs_from, UTC).isoformat().replace("+00:00", "Z") if key.signs_from else None
    return {"kid": key.kid, "signs": call.given.tokens.signs_now(now) == key.kid, "signs_from": starts}


async def listed(call: Call) -> Response:
    """The keys in force, newest first."""
    await signing_keys.refresh(call.given.tokens, call.given.vault)
    return json_answer({"items": [_shown(call, key) for key in call.given.tokens.keys], "next_cursor": None})


async def add(call: Call) -> Response:
    """Make a new key: it is published at once and signs ten minutes later, or at once, too, when the old one has to go."""
    signed_in_person(call)
    body = await optional_body_of(call.request)
    asked = closed.read(NewSigningKey, body.raw, body.plain)
    given = call.given
    await signing_keys.check_room(given.vault)
    new = signing_keys.made(given.ids, given.clock.now(), at_once=asked.signs_at_once)
    signs_from = datetime.fromtimestamp(new.key.signs_from, UTC)
    await recorded(write_by(call, KEYS, call.signed_in), AddSigningKey(new.key.kid, signs_from))
    await signing_keys.publish(given.vault, new)
    await signing_keys.refresh(given.tokens, given.vault)
    return json_answer(_shown(call, new.key), 201)


async def retire(call: Call) -> Response:
    """Take a key away: access tokens that it signed are refused, here at once, by other API processes within five seconds."""
    signed_in_person(call)
    body = await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    kid, given = call.path("kid"), call.given
    gone, others = await signing_keys.retirable(given.vault, kid, given.clock.now())
    await recorded(write_by(call, KEYS, call.signed_in), RetireSigningKey(kid, others))
    await signing_keys.retire(given.vault, gone)
    given.tokens.drop(kid)  # at once, also where the vault fails by now
    await signing_keys.refresh(given.tokens, given.vault)
    await signing_keys.destroy(given.vault, gone)
    return json_answer({"kid": kid, "retired": True})


_KEY = Shape("SigningKey", {"kid": "kJ3sQ2b1vXw0aBcD", "signs": True, "signs_from": shapes.Maybe("2026-11-25T08:00:00Z")})

ROUTES = (
    Route(
        method="GET",
        path="/api/v1/signing-keys",
        gives=shapes.listed(_KEY),
        answer=listed,
        permission="signing_keys.read",
        summary="List the keys that sign access tokens",
    ),
    Route(
        method="POST",
        path="/api/v1/signing-keys",
        gives=_KEY,
        answer=add,
        permission="signing_keys.write",
        status=201,
        summary="Make a new signing key",
        takes=NewSigningKey,
        example={"signs_at_once": False},
    ),
    Route(
        method="DELETE",
        path="/api/v1/signing-keys/{kid}",
        gives=Shape("RetiredKey", {"kid": "kJ3sQ2b1vXw0aBcD", "retired": True}),
        answer=retire,
        permission="signing_keys.write",
        summary="Retire a signing key",
    ),
)

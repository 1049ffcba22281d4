"""How is a user taken from an identity provider? The link ends with all that came by it; the account stays, as nobody's yet."""

from starlette.responses import Response

from api import shapes
from api.call import Call
from api.giving import managed
from api.in_force import in_force
from api.problem_details import Problem
from api.routes.names import slug
from api.routes.route import Route
from api.strict_json import optional_body_of
from api.submit import Said, submit, write_of
from domain.identity import USER, stream_of
from domain.user.messages import UnlinkIdentity
from schemas.http import closed
from schemas.http.run import NoBody


async def unlink(call: Call) -> Response:
    """Unlink a user, not oneself: nothing would be left to go on with."""
    name = slug(call, USER)
    body = await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    if name == call.signed_in.user:
        raise Problem("own_account", "nobody unlinks themselves; another administrator can")
    write = await managed(write_of(call, stream_of(USER, name), body))
    return await in_force(write, await submit(write, UnlinkIdentity(), Said(f"/users/{name}", {"name": name})))


ROUTES = (
    Route(
        method="DELETE",
        path="/api/v1/users/{name}/identity",
        gives=shapes.written("user", name="alice"),
        answer=unlink,
        permission="users.write",
        summary="Unlink a user from the identity provider: roles, sessions and API tokens go with the link",
    ),
)

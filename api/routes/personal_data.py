"""How is it forgotten who a user was? The user ends for good, then the vault destroys what it holds of it."""

from starlette.responses import Response

from api import shapes
from api.call import Call
from api.giving import managed
from api.in_force import in_force
from api.problem_details import Problem
from api.routes.names import slug
from api.routes.route import Route
from api.shredding import destroyed
from api.strict_json import optional_body_of
from api.submit import Said, submit, write_of
from domain.identity import USER, stream_of
from domain.user.messages import EraseUser
from schemas.http import closed
from schemas.http.run import NoBody


async def erase(call: Call) -> Response:
    """Erase a user, not oneself; what was answered 503 is made good without another request."""
    name = slug(call, USER)
    body = await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    if name == call.signed_in.user:
        raise Problem("own_account", "nobody erases themselves; another administrator can")
    write = await managed(write_of(call, stream_of(USER, name), body))
    answer = await in_force(write, await submit(write, EraseUser(), Said(f"/users/{name}", {"name": name})))
    return await destroyed(write, answer)


ROUTES = (
    Route(
        method="DELETE",
        path="/api/v1/users/{name}/personal-data",
        gives=shapes.written("user", name="alice"),
        answer=erase,
        permission="users.write",
        summary="Erase a user: end it and destroy what says who it was, for good",
    ),
)

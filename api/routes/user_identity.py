"""How is a user taken from an identity provider? The link ends with all that came by it; the account stays, as nobody's yet."""

from starlette.responses import Response

from api import shapes
from api.call import Call
from api.giving import account_of_another
from api.in_force import in_force
from api.routes.route import Route
from api.submit import submit
from domain.user.messages import UnlinkIdentity


async def unlink(call: Call) -> Response:
    """Unlink a user, not oneself: nothing would be left to go on with."""
    write, said = await account_of_another(call, "unlinks")
    return await in_force(write, await submit(write, UnlinkIdentity(), said))


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

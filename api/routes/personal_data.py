"""How is it forgotten who a user was? The user ends for good, then the vault destroys what it holds of it."""

from starlette.responses import Response

from api import shapes
from api.call import Call
from api.giving import account_of_another
from api.in_force import in_force
from api.routes.route import Route
from api.shredding import destroyed
from api.submit import submit
from domain.user.messages import EraseUser


async def erase(call: Call) -> Response:
    """Erase a user, not oneself; what was answered 503 is made good without another request."""
    write, said = await account_of_another(call, "erases")
    answer = await in_force(write, await submit(write, EraseUser(), said))
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

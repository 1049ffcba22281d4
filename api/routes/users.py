"""What can be seen of users?"""

from starlette.responses import Response

from api import shapes
from api.as_of import PARAMETER, listed_then, row_then, time_of_list
from api.call import Call, list_answer, versioned
from api.queries import users
from api.references import found
from api.routes.history import history_of
from api.routes.names import absent, slug
from api.routes.route import PAGED, Route
from domain.identity import USER


async def listed(call: Call) -> Response:
    """Users with their roles."""
    page = call.page(users.ORDERS, "name")
    if (time := time_of_list(call)) is not None:
        then = users.then(time)
        rows, cursor = await call.models.ask(lambda connection: listed_then(connection, page, then, time))
        return list_answer([users.shown(row) for row in rows], cursor)
    return list_answer(*await call.models.ask(lambda connection: users.listed(connection, page)))


async def show(call: Call) -> Response:
    """One user."""
    name = slug(call, USER)
    if PARAMETER in call.query:
        return versioned(users.shown(await row_then(call, USER, name)))
    user = await found(call, USER, lambda connection: users.one(connection, name))
    if user is None:
        raise absent(USER)
    return versioned(user)


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/users",
        gives=shapes.listed(shapes.USER),
        answer=listed,
        permission="users.read",
        summary="List users",
        query=PAGED | {PARAMETER},
        reads=("users",),
    ),
    Route(
        method="GET",
        path="/api/v1/users/{name}",
        gives=shapes.USER,
        answer=show,
        permission="users.read",
        summary="Show a user",
        query=frozenset({PARAMETER}),
        reads=("users",),
    ),
    history_of("users", USER, "users.read"),
)

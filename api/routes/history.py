"""What happened to one thing? Its events, from the first on."""

from typing import Any

from sqlalchemy import Connection
from starlette.responses import Response

from api import shapes
from api.call import Call, list_answer
from api.queries import audit
from api.queries.seen import history_seen
from api.references import found
from api.routes.names import absent, run_of, slug
from api.routes.route import PAGED, Route
from api.sight import must_see_history
from domain.identity import RUN, stream_of


def history_of(folder: str, kind: str, permission: str) -> Route:
    """The route of one aggregate type's histories."""

    async def history(call: Call) -> Response:
        name = run_of(call) if kind == RUN else slug(call, kind)
        await must_see_history(call, kind, name)
        page = call.page(audit.STREAM_ORDERS, "version")
        exact = {"stream": stream_of(kind, name)}

        def asked(connection: Connection) -> tuple[list[dict[str, Any]], str | None] | None:
            items, cursor = audit.listed(connection, page, exact, history_seen(call.signed_in, kind))
            return (items, cursor) if items or page.after is not None else None

        listed = await found(call, kind, asked, "events")
        if listed is None:
            raise absent(kind)
        return list_answer(*listed)

    part = "{run}" if kind == RUN else "{name}"
    return Route(
        method="GET",
        path=f"/api/v1/{folder}/{part}/history",
        answer=history,
        permission=permission,
        gives=shapes.listed(shapes.EVENT),
        summary=f"What happened to a {kind}",
        query=PAGED,
        reads=("events",),
    )

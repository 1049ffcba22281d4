"""What is a route? One row of the table: method, path, who may, what it takes and what answers."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from starlette.responses import Response

from api.call import Call
from api.shapes import Shape

PAGED = frozenset({"limit", "cursor", "sort"})
"""The query parameters of every list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`permission` is None where no token is needed. `reads` are the projections that the answer is made from: they are waited
    for when the caller says how fresh they must be. In the OpenAPI document `takes` is the dataclass that describes the body,
    and `gives` what the answer looks like, by its media type where that is not JSON.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    answer: Callable[[Call], Awaitable[Response]]
    permission: str | None
    summary: str
    status: int = 200
    query: frozenset[str] = frozenset()
    reads: tuple[str, ...] = ()
    takes: type[Any] | None = None
    example: Mapping[str, Any] | None = None
    gives: Shape | str

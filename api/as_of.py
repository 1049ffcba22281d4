"""How was it then? `?as_of=` takes a version of the stream or an RFC 3339 time; a list takes a time."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select

from api.call import Call
from api.filters import moment
from api.freshness import MAIN
from api.paging import ALL, Page, Seen
from api.problem_details import Problem, wrong
from api.references import found
from domain.identity import stream_of
from projections.all import BY_NAME
from projections.as_of import rows_as_of, up_to_time, up_to_version

PARAMETER = "as_of"

_VERSION = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_AT_ONCE, _MOST = 200, 2_000
"""How many things a page of a list looks at together, and at most; then it ends early."""

Row = Mapping[str, Any]


async def row_then(call: Call, kind: str, name: str) -> Row:
    """The row of one thing as it was. Raises `Problem`, also when it had no such version or was not there yet."""
    text = call.query[PARAMETER]
    version = int(text) if _VERSION.fullmatch(text) else None
    until = up_to_version(version) if version else up_to_time(_time(call, "must be a version or an RFC 3339 time"))
    stream = stream_of(kind, name)

    def then(connection: Connection) -> Row | None:
        row = rows_as_of(connection, BY_NAME[MAIN[kind]], [stream], until).get(stream)
        return None if row is None or (version is not None and row["version"] != version) else row

    row = await found(call, kind, then, "events")
    if row is None:
        raise Problem(f"{kind}_not_found", "there was none then")
    return row


@dataclass(frozen=True, slots=True)
class Then:
    """A list as it was: of the things that `query` finds and that are seen, by `key`, those that `keeps` holds for as they were
    at that time.
    """

    kind: str
    key: str
    query: Select[Any]
    keeps: Callable[[Row], bool]
    seen: Seen = ALL


def time_of_list(call: Call) -> str | None:
    """The time a list is asked for; None for now. Raises `Problem` (422)."""
    return _time(call, "must be an RFC 3339 time; a list has no version") if PARAMETER in call.query else None


def listed_then(connection: Connection, page: Page, then: Then, time: str) -> tuple[list[Row], str | None]:
    """One page of the list; with more to look at than is looked at for one page, it is shorter than its limit."""
    until, kept, place = up_to_time(time), list[tuple[Row, Row]](), replace(page, limit=_AT_ONCE)
    for _ in range(_MOST // _AT_ONCE):
        rows, cursor = place.rows_seen(connection, then.query, then.seen)
        kept += _as_they_were(connection, then, rows, until)
        if len(kept) > page.limit:
            return [was for _, was in kept[: page.limit]], page.cursor_after(kept[page.limit - 1][0])
        if cursor is None:
            return [was for _, was in kept], None
        place = replace(place, after=page.place_of(rows[-1]))
    return [was for _, was in kept], page.cursor_after(rows[-1])


def _as_they_were(connection: Connection, then: Then, rows: list[Row], until: ColumnElement[bool]) -> list[tuple[Row, Row]]:
    streams = {stream_of(then.kind, row[then.key]): row for row in rows}
    were = rows_as_of(connection, BY_NAME[MAIN[then.kind]], list(streams), until)
    return [(row, were[stream]) for stream, row in streams.items() if stream in were and then.keeps(were[stream])]


def _time(call: Call, message: str) -> str:
    try:
        time = moment(call.query, PARAMETER)
    except Problem:
        raise wrong(PARAMETER, message) from None
    assert time is not None
    return time

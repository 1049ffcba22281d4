"""How is a write that depends on what the thing is judged without a gap? On one version of it, and sent for that version only.

Where the thing changed between the look and the decision, and the caller said no version, it is looked at and judged anew.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection
from starlette.responses import Response

from api.permit import Denied
from api.problem_details import Problem
from api.references import found
from api.routes.names import absent
from api.submit import Rejection, Said, Write, accepted_answer, remembered, submit
from domain.identity import kind_of

_MAX_ATTEMPTS = 5
CONFLICT = "version_conflict"

Row = Mapping[str, Any]
Look = Callable[[Connection], Row | None]
Judge = Callable[[Row], Awaitable[Any]]
"""The command for the thing as the row shows it; raises `Problem` when the caller may not."""


async def judged(write: Write, command: type[Any], look: Look, judge: Judge, said: Said) -> Response:
    """Answer the write, a `command`, with what `judge` makes of what `look` finds. Raises `Problem`."""
    if before := await remembered(write, command, CONFLICT if write.expected_version is None else ""):
        return accepted_answer(write, said, *before)
    kind = kind_of(write.stream)
    row = await found(write.call, kind, look)
    if row is None:
        raise absent(kind)
    if write.expected_version not in (None, row["version"]) or await _is_denied(judge, row):
        row = await _now(write, kind, look, row)  # what is shown may be what it was a moment ago
    for attempt in range(1, _MAX_ATTEMPTS):
        try:
            return await _attempt(write, row, judge, said, attempt)
        except Rejection as rejected:
            if rejected.code != CONFLICT or write.expected_version is not None:
                raise
        row = await _now(write, kind, look, row)
    return await _attempt(write, row, judge, said, _MAX_ATTEMPTS)


async def _is_denied(judge: Judge, row: Row) -> bool:
    try:
        await judge(row)
    except Denied:
        return True
    return False


async def _attempt(write: Write, row: Row, judge: Judge, said: Said, attempt: int) -> Response:
    command = await judge(row)
    if write.expected_version not in (None, row["version"]):
        raise Problem(CONFLICT, f"the stream is at version {row['version']}, not {write.expected_version}")
    return await submit(replace(write, expected_version=row["version"]), command, said, attempt)


async def _now(write: Write, kind: str, look: Look, seen: Row) -> Row:
    await write.call.services.freshness.log_end([kind])
    return await write.call.models.ask(look) or seen

"""How is a run's output followed while it is written? Server-sent events, resumable by `Last-Event-ID` (HAZARDS R52, R56).

A hint that there is something new only shortens the wait: the stream always reads on from its own place. Nothing is queued for a
slow reader; the next pieces are read once the last ones were taken. A stream ends with `event: end` when the run is over and
complete, and without it when the server stops: the client comes again with the last id it saw.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import orjson
from sqlalchemy import Connection
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from api.call import Call
from api.problem_details import Problem
from api.queries import run_output, runs
from domain.identity import RUN, stream_of
from domain.run.state import FINAL
from projections.position import has_reached

_AT_ONCE = 100
SEND_WITHIN_S = 30.0
"""How long a reader may take for one message."""


def follow_run(call: Call, run: str, filters: Mapping[str, str]) -> Response:
    """A run's output from the place after `Last-Event-ID`, as it comes. Raises `Problem`."""
    call.services.streams.check(call.signed_in.actor.name)
    offset = _last_seen(call.request.headers.get("last-event-id"))
    return _Stream(call, _events_of(call, run, filters, offset))


def _last_seen(text: str | None) -> int:
    if text is None or text == "":
        return -1
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Problem("malformed_header", "Last-Event-ID is not one of this stream")
    return int(text)


class _Stream(StreamingResponse):
    """Server-sent events to one reader, who is let go when he takes nothing for a while."""

    def __init__(self, call: Call, events: AsyncGenerator[bytes]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._call, self._events = call, events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_within(message: Message) -> None:
            async with asyncio.timeout(SEND_WITHIN_S):
                await send(message)

        with self._call.services.streams.opened(self._call.signed_in.actor.name):
            try:
                await super().__call__(scope, receive, send_within)
            except (TimeoutError, ClientDisconnect):
                return  # the reader is gone or takes nothing; it resumes with the last id it saw
            finally:
                await self._events.aclose()


async def _events_of(call: Call, run: str, filters: Mapping[str, str], offset: int) -> AsyncGenerator[bytes]:
    settings, loop = call.given.settings, asyncio.get_running_loop()
    yield b"retry: 1000\n\n"
    heard = loop.time()
    async with call.given.wakeups.listen(stream_of(RUN, run)) as waiter:
        while not call.given.drain.stopping:
            is_over, pieces = await call.models.ask(lambda connection, after=offset: _next(connection, call, run, filters, after))  # type: ignore[misc]
            for offset, item in pieces:
                yield b"id: %d\nevent: output\ndata: %s\n\n" % (offset, orjson.dumps(item))
            if pieces:
                heard = loop.time()
            elif is_over:
                yield b"event: end\ndata: {}\n\n"
                return
            else:
                await waiter.wait(settings.poll_s)
            if loop.time() - heard > settings.heartbeat_s:
                heard = loop.time()
                yield b": still here\n\n"


def _next(
    connection: Connection, call: Call, run: str, filters: Mapping[str, str], offset: int
) -> tuple[bool, list[tuple[int, dict[str, Any]]]]:
    """Whether the run was over and complete, and then what came after `offset`: in this order nothing can slip in between."""
    row = runs.row_of(connection, run)
    is_over = False
    if row is not None and row["state"] in FINAL:
        _, output_at = runs.completeness([row], call.given.reader.shards)
        is_over = has_reached(connection, "run_output", output_at)
    return is_over, run_output.after(connection, run, filters, offset, _AT_ONCE)

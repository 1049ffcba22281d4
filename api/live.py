"""How is something followed while it happens? Server-sent events, resumable by `Last-Event-ID` (HAZARDS R52, R56).

A hint that there is something new only shortens the wait: the stream always reads on from its own place. Nothing is queued for a
slow reader; the next pieces are read once the last ones were taken. A run's output ends with `event: end` when the run is over
and complete; a stream that ends without it was ended by the server stopping, or its reader may read it no more: the client comes
again with the last id it saw.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from api.call import Call, Caller
from api.conditions import all_of
from api.identity import caller_still
from api.problem_details import Problem
from api.queries import event_stream, run_output, runs
from api.queries.event_stream import Place
from api.queries.seen import events_seen, output_seen
from api.sight import sees_run
from domain.identity import RUN, stream_of
from domain.run.state import FINAL
from projections.position import has_reached
from schemas.wakeups import RECENT_EVENTS

_AT_ONCE = 100
SEND_WITHIN_S = 30.0
"""How long a reader may take for one message."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """What came next, each with the id to resume after it; `is_over` when nothing can come any more."""

    items: Sequence[tuple[str, Mapping[str, Any]]]
    is_over: bool = False


Next = Callable[[Connection, Caller], Pieces | None]
"""Reads on from its own place, which it moves, what the caller sees now; None when that is nothing any more. Asked one after the
other, never at once.
"""


def follow_run(call: Call, run: str, filters: Mapping[str, str]) -> Response:
    """A run's output from the place after `Last-Event-ID`, as it comes. Raises `Problem`."""
    call.services.streams.check(call.signed_in.user)
    offset = _last_seen(call)

    def following(connection: Connection, caller: Caller) -> Pieces | None:
        nonlocal offset
        if not sees_run(connection, caller, run):
            return None
        is_over = _is_complete(connection, call, run)  # asked first, so that nothing can slip in between
        found = run_output.after(connection, (run, filters, output_seen(caller, run)), offset, _AT_ONCE)
        offset = found[-1][0] if found else offset
        return Pieces([(str(at), item) for at, item in found], is_over)

    return LongAnswer(call, _events_of(call, "output", stream_of(RUN, run), following, "runs.read"))


def _last_seen(call: Call) -> int:
    text = all_of(call.request.headers, "last-event-id")
    if not text:
        return -1
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Problem("malformed_header", "Last-Event-ID is not one of this stream")
    return int(text)


def _is_complete(connection: Connection, call: Call, run: str) -> bool:
    row = runs.row_of(connection, run)
    if row is None or row["state"] not in FINAL:
        return False
    _, output_at = runs.completeness([row], call.given.reader.shards)
    return has_reached(connection, "run_output", output_at)


async def follow_events(call: Call, filters: Mapping[str, str]) -> Response:
    """The events that come from now on, or after `Last-Event-ID`. Raises `Problem`."""
    call.services.streams.check(call.signed_in.user)
    text = all_of(call.request.headers, "last-event-id")
    place = Place.parsed(text) if text else await call.models.ask(event_stream.end)
    if place is None:
        raise Problem("malformed_header", "Last-Event-ID is not one of this stream")

    def following(connection: Connection, caller: Caller) -> Pieces:
        return Pieces(event_stream.after(connection, (filters, events_seen(caller)), place, _AT_ONCE))

    return LongAnswer(call, _events_of(call, "event", RECENT_EVENTS, following, "audit.read"))


class LongAnswer(StreamingResponse):
    """An answer in pieces to one reader, who is let go when he takes nothing for a while; counted among the live streams."""

    def __init__(self, call: Call, pieces: AsyncGenerator[bytes], media_type: str = "text/event-stream") -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(pieces, headers=headers, media_type=media_type)
        self._call, self._pieces = call, pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""

        async def send_within(message: Message) -> None:
            async with asyncio.timeout(SEND_WITHIN_S):
                await send(message)

        if scope["method"] == "HEAD":  # its headers are all there is
            await self._pieces.aclose()
            await Response(None, headers=dict(self.headers))(scope, receive, send)
            return
        with self._call.services.streams.opened(self._call.signed_in.user):
            try:
                await super().__call__(scope, receive, send_within)
            except (TimeoutError, ClientDisconnect):
                return  # the reader is gone or takes nothing; it resumes with the last id it saw
            finally:
                await self._pieces.aclose()


async def _events_of(call: Call, name: str, hints: str, following: Next, permission: str) -> AsyncGenerator[bytes]:
    settings, loop = call.given.settings, asyncio.get_running_loop()

    def permitted(connection: Connection) -> Pieces | None:
        caller = caller_still(connection, call.signed_in, permission, call.given.clock.now())
        return following(connection, caller) if caller is not None else None

    yield b"retry: 1000\n\n"
    heard = loop.time()
    async with call.given.wakeups.listen(hints) as waiter:
        while not call.given.drain.stopping:
            pieces = await call.models.ask(permitted)
            if pieces is None:
                return  # the client comes again, and is told why
            for ident, item in pieces.items:
                yield b"id: %s\nevent: %s\ndata: %s\n\n" % (ident.encode(), name.encode(), orjson.dumps(item))
            if pieces.items:
                heard = loop.time()
            elif pieces.is_over:
                yield b"event: end\ndata: {}\n\n"
                return
            else:
                await waiter.wait(settings.poll_s)
            if loop.time() - heard > settings.heartbeat_s:
                heard = loop.time()
                yield b": still here\n\n"

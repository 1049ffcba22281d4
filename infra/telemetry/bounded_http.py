"""How long may a caller take over a request's head, and what is told to one who speaks no HTTP?

The server's own time-outs begin with the first answer; whoever opens a connection and says nothing, or a header a minute, would
hold it for ever (slowloris). What is no HTTP is answered like everything else: problem details under a correlation id.
"""

import asyncio
import sys
from typing import Any
from uuid import uuid4

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol

from schemas.problems import kind_of, problem

_HEAD_TOO_LARGE = 431

HEAD_WITHIN_S = 10.0
"""How long a connection may go without a whole request head, from its beginning or the last answer."""


class BoundedHttp(H11Protocol):
    """HTTP/1.1 with a deadline for every request's head."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The deadline begins."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """With a head the deadline ends; without one it stays where it was."""
        super().data_received(data)
        if self._is_answering():
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """The deadline begins anew, unless the next request is here already."""
        super().on_response_complete()
        if not self.transport.is_closing() and not self._is_answering():
            self._wait_for_head()

    def send_400_response(self, msg: str) -> None:
        """Say that this is no HTTP, or that its head is longer than is read, and close."""
        refused = sys.exception()  # the parser's, in whose handling this is called
        is_long = isinstance(refused, h11.RemoteProtocolError) and refused.error_status_hint == _HEAD_TOO_LARGE
        self._tell("head_too_large" if is_long and not self._is_answering() else "malformed_request")

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._late = self.loop.call_later(HEAD_WITHIN_S, self._tell, "receive_timeout")

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _tell(self, code: str) -> None:
        if self.transport.is_closing():
            return
        correlation_id = str(uuid4())
        body = orjson.dumps(problem(code, "", (), correlation_id))
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-correlation-id", correlation_id.encode()),
            (b"connection", b"close"),
        ]
        said: tuple[Any, ...] = (
            h11.Response(status_code=kind_of(code).status, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # no answer has begun
            for event in said:
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

"""What does every request meet before anything reads it? Pure ASGI, from outside in: whose address it comes from, a correlation
id and safe headers, a bound on how many are answered at once, a bound on how much and how long a caller may send (HAZARDS D10).
"""

import asyncio
import logging
import re
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import cors
from api.arriving import Arriving, refusal_of
from api.caller_address import caller_address, is_trusted
from api.metrics import Metrics
from api.ports import ApiSettings, Drain, Ids
from api.problem_details import Problem, answer

log = logging.getLogger(__name__)

_KEPT = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_DRAINED_BYTES = 64 * 1_048_576
_DRAINED_S = 10.0

_SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_TLS_ONLY = (b"strict-transport-security", b"max-age=31536000")


@dataclass(slots=True)
class Edge:
    """The outermost layer around the application."""

    app: ASGIApp
    ids: Ids
    settings: ApiSettings
    drain: Drain
    metrics: Metrics
    in_flight: int = field(default=0, init=False)
    arriving: Arriving = field(init=False)

    def __post_init__(self) -> None:
        bounds = self.settings
        self.arriving = Arriving(bounds.max_arriving, bounds.max_slow_bodies, bounds.slow_after_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        correlation_id = _kept_correlation_id(scope) or str(self.ids.new_id())
        scope.setdefault("state", {})["correlation_id"] = correlation_id
        outbound = _Outbound(send, correlation_id, self._own_headers(scope))
        _put_right_whose_it_is(scope, self.settings)
        started = asyncio.get_running_loop().time()
        try:
            await self._answer(scope, receive, outbound)
        finally:
            elapsed = asyncio.get_running_loop().time() - started
            self.metrics.answered(scope, outbound.status, elapsed)

    async def _answer(self, scope: Scope, receive: Receive, outbound: "_Outbound") -> None:
        if (refusal := self._refusal(scope)) is not None:
            await _tell(refusal, scope, receive, outbound)
            return
        if (permitted := self._asked_first(scope)) is not None:
            await outbound({"type": "http.response.start", "status": 204, "headers": list(permitted)})
            await outbound({"type": "http.response.body", "body": b""})
            return
        try:
            body = await self._read(scope, receive)
            if body is not None:
                await self._in_its_place(scope, _replay(body, receive), outbound)
        except _TooLarge as failure:
            await _tell_at_once(failure, scope, receive, outbound)
        except Problem as failure:
            await _tell(failure, scope, receive, outbound)
        except Exception:
            log.exception("request failed", extra={"correlation_id": outbound.correlation_id})
            if outbound.status is None:
                await _tell(Problem("internal_error"), scope, receive, outbound)

    async def _in_its_place(self, scope: Scope, receive: Receive, outbound: "_Outbound") -> None:
        """Let the application answer. Only a request that is whole takes a place: whoever sends none to its end holds up nobody.

        Raises `Problem` when all places were taken while the body arrived.
        """
        if self._is_full(scope):
            raise Problem("overloaded")
        self.in_flight += 1
        self.metrics.in_flight.set(self.in_flight)
        try:
            await self.app(scope, receive, outbound)
        finally:
            self.in_flight -= 1
            self.metrics.in_flight.set(self.in_flight)

    def _refusal(self, scope: Scope) -> Problem | None:
        if _header(scope, b"content-length") is not None and _header(scope, b"transfer-encoding") is not None:
            # Whoever stands between may see another end of it, and another request after it (RFC 9112 §6.1).
            why = "Content-Length and Transfer-Encoding exclude each other"
            return Problem("malformed_request", why, headers={"Connection": "close"})
        if self.drain.stopping and not _watches(scope):
            return Problem("shutting_down", headers={"Connection": "close"})
        return Problem("overloaded") if self._is_full(scope) else None

    def _is_full(self, scope: Scope) -> bool:
        return self.in_flight >= self.settings.max_in_flight and not _watches(scope)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None when the caller went away. Bytes are counted: a stated length is believed where it is too much.

        Raises `_TooLarge`, and `Problem` for a body that is late, compressed, or one of too many that are slow.
        """
        if (_header(scope, b"content-encoding") or "identity").strip().lower() != "identity":
            raise Problem("unsupported_media_type", "a compressed body is not taken")
        limit = self.settings.max_form if _is_form(scope) else self.settings.max_body
        if _stated_length(scope) > limit:
            raise _TooLarge(limit)
        more, late = True, asyncio.timeout(self.settings.receive_s)
        with self.arriving.from_address(_peer(scope), late) as arrival:
            try:
                async with late:
                    while more and len(arrival.body) <= limit:
                        message = await receive()
                        if message["type"] == "http.disconnect":
                            return None
                        more = message.get("more_body", False)
                        self.arriving.took(arrival, message.get("body", b""))
            except TimeoutError:
                raise refusal_of(arrival) from None
        if len(arrival.body) > limit:
            raise _TooLarge(limit)
        return bytes(arrival.body)

    def _own_headers(self, scope: Scope) -> cors.Headers:
        """What every answer carries, and says of how and by whom it was asked for."""
        said = (*_SAFE_HEADERS, *cors.told(_header(scope, b"origin"), self.settings.cors_origins))
        return (*said, _TLS_ONLY) if _is_private(scope, self.settings) else said

    def _asked_first(self, scope: Scope) -> cors.Headers | None:
        wanted = _header(scope, b"access-control-request-method")
        return cors.asked_first(str(scope["method"]), _header(scope, b"origin"), wanted, self.settings.cors_origins)


class _TooLarge(Problem):
    """A body that is not taken."""

    def __init__(self, limit: int) -> None:
        super().__init__("body_too_large", f"at most {limit} bytes are taken", headers={"Connection": "close"})


class _Outbound:
    """Sends the answer with the headers that every answer carries; `status` is None until it has begun."""

    def __init__(self, send: Send, correlation_id: str, headers: cors.Headers) -> None:
        self._send, self.correlation_id, self._headers = send, correlation_id, headers
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            told = list(message.get("headers", ()))
            told += [(b"x-correlation-id", self.correlation_id.encode()), *self._headers]
            if not any(name.lower() == b"cache-control" for name, _ in told):
                told.append((b"cache-control", b"no-store"))
            message = {**message, "headers": told}
        await self._send(message)


def _watches(scope: Scope) -> bool:
    """Whether it looks after us: that must go on above all when others ask too much."""
    return str(scope["path"]).startswith(("/health", "/metrics"))


def _stated_length(scope: Scope) -> int:
    stated = _header(scope, b"content-length") or ""
    return int(stated) if stated.isdecimal() else 0


def _is_form(scope: Scope) -> bool:
    return (_header(scope, b"content-type") or "").lower().startswith(("application/x-www-form", "multipart/"))


def _is_private(scope: Scope, settings: ApiSettings) -> bool:
    """Whether nobody between could read it: TLS ends here, or at a trusted proxy that says so."""
    if scope.get("scheme") == "https":
        return True
    said = _header(scope, b"x-forwarded-proto") if settings.trusted_proxies else None
    return said == "https" and is_trusted(_peer(scope), settings.trusted_proxies)


def _put_right_whose_it_is(scope: Scope, settings: ApiSettings) -> None:
    """From here on the request's client is the caller, not the last proxy."""
    forwarded = [value.decode("latin-1") for key, value in scope["headers"] if key == b"x-forwarded-for"]
    client = scope.get("client")
    scope["client"] = (caller_address(_peer(scope), forwarded, settings.trusted_proxies), client[1] if client else 0)


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def _kept_correlation_id(scope: Scope) -> str | None:
    sent = _header(scope, b"x-correlation-id")
    return sent if sent is not None and _KEPT.fullmatch(sent) else None


def _header(scope: Scope, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


async def _drain(receive: Receive) -> None:
    """Take the rest of a body off the wire, within a bound of bytes and time."""
    left = _DRAINED_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAINED_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b"")) or 1
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hand the body, read already, to the application; what comes after it is the caller's going away."""
    pending: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed


async def _tell(failure: Problem, scope: Scope, receive: Receive, outbound: _Outbound) -> None:
    await answer(failure, outbound.correlation_id)(scope, receive, outbound)


async def _tell_at_once(failure: Problem, scope: Scope, receive: Receive, outbound: _Outbound) -> None:
    """Tell it whole before the body has come, and let go of the connection after that: in its midst the answer would be lost on
    the way to who is still sending. Who asked whether to send (RFC 9110 §10.1.1) does not.
    """

    async def kept_open(message: Message) -> None:
        is_end = message["type"] == "http.response.body"
        await outbound({**message, "more_body": True} if is_end else message)

    await answer(failure, outbound.correlation_id)(scope, receive, kept_open)
    if (_header(scope, b"expect") or "").lower() != "100-continue":
        await _drain(receive)
    await outbound({"type": "http.response.body", "body": b""})

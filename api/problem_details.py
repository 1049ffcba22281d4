"""How is a failure told to the caller? As RFC 9457 problem details with a stable code; never with what the caller sent."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from domain.rejection import FieldError, Rejection
from schemas.log import LogError, LogUnavailable, RecordTooLarge, ResultUnknown
from schemas.problems import kind_of, problem
from schemas.vault import VaultError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """A request that is answered with problem details under `code`."""

    def __init__(
        self, code: str, detail: str = "", errors: tuple[FieldError, ...] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail, self.errors, self.headers = code, detail, errors, dict(headers or {})


def wrong(field: str, message: str) -> Problem:
    """A request with one field at fault."""
    return Problem("validation_failed", f"{field}: {message}", (FieldError(field, message),))


def answer(failure: Problem, correlation_id: str) -> Response:
    """The response that tells `failure`."""
    kind = kind_of(failure.code)
    headers = dict(failure.headers)
    if kind.retry_after_s is not None:
        headers.setdefault("Retry-After", str(kind.retry_after_s))
    if kind.status == 401:
        headers.setdefault("WWW-Authenticate", "Bearer")
    body = orjson.dumps(problem(failure.code, failure.detail, failure.errors, correlation_id), default=str)
    return Response(body, kind.status, headers, MEDIA_TYPE)


def correlation_of(request: Request) -> str:
    """The correlation id that the request goes under."""
    return str(request.scope.get("state", {}).get("correlation_id", ""))


def of_log_error(error: Exception) -> Problem:
    """What the caller is told when the log failed."""
    match error:
        case RecordTooLarge():
            return Problem("event_too_large")
        case ResultUnknown():
            return Problem("result_unknown")
        case _:
            return Problem("log_unavailable")


def install(app: FastAPI) -> None:
    """Answer every expected failure with problem details."""
    tellers: dict[type[Exception], Callable[[Any], Problem]] = {
        Problem: lambda failure: failure,
        Rejection: lambda refused: Problem(refused.code, refused.message, refused.errors),
        LogError: of_log_error,
        LogUnavailable: of_log_error,
        VaultError: lambda error: Problem("vault_unavailable"),
        HTTPException: _of_http,
        Exception: lambda error: Problem("internal_error"),  # told here, logged at the edge
    }
    for kind, tell in tellers.items():
        app.add_exception_handler(kind, _teller(tell))


def _teller(tell: Callable[[Any], Problem]) -> Callable[[Request, Exception], Awaitable[Response]]:
    """A coroutine function: anything else is run in a thread, which takes what may be lacking when there is something to tell."""

    async def told(request: Request, error: Exception) -> Response:
        return answer(tell(error), correlation_of(request))

    return told


def _of_http(error: HTTPException) -> Problem:
    code = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}.get(error.status_code, "validation_failed")
    return Problem(code, headers=error.headers)

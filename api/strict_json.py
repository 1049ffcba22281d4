"""What did the caller send as JSON? Stricter than most readers, so that nobody behind us reads something else in it.

Not JSON at all (another encoding, a byte order mark, NaN, a key twice, nested too deeply): 400. JSON that cannot be ours (no
object, U+0000, lone surrogates, integers beyond 2^53): 422 naming the field.
"""

import json
from dataclasses import dataclass
from email.message import Message
from typing import Any

from starlette.requests import Request

from api.problem_details import Problem
from domain.rejection import FieldError
from schemas.strict_json import NotStrict, loads
from schemas.text import refusal

_READ_AS_UTF_8 = frozenset({None, "utf-8", "utf8", "us-ascii"})


@dataclass(frozen=True, slots=True, repr=False)
class Body:
    """A JSON object as it was sent and as it was read. Has no repr: it may hold a secret."""

    raw: bytes
    plain: dict[str, Any]

    @property
    def canonical(self) -> bytes:
        """The same bytes for the same object, whatever the order of its keys."""
        return json.dumps(self.plain, sort_keys=True, separators=(",", ":")).encode()


async def body_of(request: Request) -> Body:
    """The request's JSON object. Raises `Problem`."""
    kind, _, parameters = request.headers.get("content-type", "application/json").partition(";")
    kind = kind.strip().lower()
    if not (kind in ("application/json", "application/merge-patch+json") or kind.endswith("+json")):
        raise Problem("unsupported_media_type", "send application/json")
    if parameters and _charset(parameters) not in _READ_AS_UTF_8:
        raise Problem("malformed_json", "JSON is sent in UTF-8")
    return parsed(await request.body())


def _charset(parameters: str) -> str | None:
    """The encoding that the parameters of a content type name, in lower case."""
    said = Message()
    said["Content-Type"] = f"application/json;{parameters}"
    return said.get_content_charset()


async def optional_body_of(request: Request) -> Body:
    """The request's JSON object; no body at all is an empty one."""
    return await body_of(request) if await request.body() else Body(b"{}", {})


def parsed(raw: bytes) -> Body:
    """`raw` as a JSON object. Raises `Problem`."""
    try:
        plain = loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise Problem("malformed_json", "the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Problem("malformed_json", f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except NotStrict as error:
        raise Problem("malformed_json", str(error)) from None
    if not isinstance(plain, dict):
        raise Problem("validation_failed", "the body must be a JSON object", (FieldError("", "must be an object"),))
    if refused := refusal(plain):
        raise Problem(refused.code, refused.message, refused.errors)
    return Body(raw, plain)

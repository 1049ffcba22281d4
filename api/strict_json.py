"""What did the caller send as JSON? Stricter than most readers, so that nobody behind us reads something else in it.

Not JSON at all (another encoding, a byte order mark, NaN, a key twice, nested too deeply): 400. JSON that cannot be ours (no
object, U+0000, lone surrogates, integers beyond 2^53): 422 naming the field.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from api.problem_details import Problem
from domain.rejection import FieldError
from schemas.text import MAX_SAFE_INTEGER, unstorable

MAX_DEPTH = 32
_LONGEST_INTEGER = 20


class _NotStrict(ValueError):
    """JSON that lenient readers take and strict ones don't."""


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
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if not (kind in ("application/json", "application/merge-patch+json") or kind.endswith("+json")):
        raise Problem("unsupported_media_type", "send application/json")
    return parsed(await request.body())


async def optional_body_of(request: Request) -> Body:
    """The request's JSON object; no body at all is an empty one."""
    return await body_of(request) if await request.body() else Body(b"{}", {})


def parsed(raw: bytes) -> Body:
    """`raw` as a JSON object. Raises `Problem`."""
    try:
        plain = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
        )
    except UnicodeDecodeError:
        raise Problem("malformed_json", "the body is not UTF-8") from None
    except RecursionError:
        raise Problem("malformed_json", "the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Problem("malformed_json", f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except _NotStrict as error:
        raise Problem("malformed_json", str(error)) from None
    if not isinstance(plain, dict):
        raise Problem("validation_failed", "the body must be a JSON object", (FieldError("", "must be an object"),))
    if _deeper_than(plain, MAX_DEPTH):
        raise Problem("malformed_json", f"the body is nested deeper than {MAX_DEPTH}")
    if errors := tuple(FieldError(path, reason) for path, reason in unstorable(plain)):
        raise Problem("unstorable_text", "; ".join(f"{e.field}: {e.message}" for e in errors), errors)
    return Body(raw, plain)


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NotStrict("an object has a key twice")
    return found


def _constant(name: str) -> Any:
    raise _NotStrict(f"{name} is not JSON")


def _integer(digits: str) -> int:
    # What is longer is too large anyway and would be slow to convert.
    return int(digits) if len(digits) <= _LONGEST_INTEGER else MAX_SAFE_INTEGER + 1


def _deeper_than(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        return levels == 0 or any(_deeper_than(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_deeper_than(item, levels - 1) for item in value)
    return False

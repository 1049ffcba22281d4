"""What does a text say as JSON? Stricter than most readers (RFC 8259), so that nobody behind us reads something else in it."""

import json
from collections.abc import Sequence
from typing import Any

from schemas.text import MAX_SAFE_INTEGER

MAX_DEPTH = 32
_LONGEST_INTEGER = 20


class NotStrict(ValueError):
    """JSON that lenient readers take and strict ones don't: a key twice, NaN, nested too deeply."""


def loads(said: str) -> Any:
    """What it says. Raises `JSONDecodeError` when it is no JSON, `NotStrict` when it is none that all read alike."""
    try:
        found = json.loads(said, object_pairs_hook=_object, parse_constant=_constant, parse_int=whole)
        too_deep = _deeper_than(found, MAX_DEPTH)
    except RecursionError:
        too_deep = True
    if too_deep:
        raise NotStrict(f"nested deeper than {MAX_DEPTH}")
    return found


def whole(digits: str) -> int:
    """A whole number; one that is too large to be kept is so without being worked out, which would take long."""
    return int(digits) if len(digits) <= _LONGEST_INTEGER else MAX_SAFE_INTEGER + 1


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotStrict("an object has a key twice")
    return found


def _constant(name: str) -> Any:
    raise NotStrict(f"{name} is not JSON")


def _deeper_than(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (levels == 0 or any(_deeper_than(item, levels - 1) for item in inner))

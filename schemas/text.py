"""Can this text or number be stored everywhere it will have to be?

Postgres refuses U+0000, UTF-8 refuses lone surrogates, JSON readers elsewhere lose integers beyond 2^53: one such event would
stop a projection for ever (HAZARDS D12), so they are refused at the edge and again before an event is made.
"""

from collections.abc import Iterator
from math import isfinite
from typing import Any

from domain.rejection import FieldError, Invalid

MAX_SAFE_INTEGER = 2**53

_NOT_FINITE = "is not a finite number; the largest is about 1.8e308"
_TOO_LARGE = f"is beyond 2^53 ({MAX_SAFE_INTEGER}), up to which whole numbers are kept exactly"
_OF_NUMBERS = frozenset({_NOT_FINITE, _TOO_LARGE})


def refusal(value: Any) -> Invalid | None:
    """What is wrong with a JSON-like value that cannot be stored, by field: a number is wrong as any other field is, text has a
    code of its own. None when all of it can be stored."""
    faults = list(unstorable(value))
    if not faults:
        return None
    errors = (FieldError(path, reason) for path, reason in faults)
    if all(reason in _OF_NUMBERS for _, reason in faults):
        return Invalid(*errors)
    return Invalid(*errors, code="unstorable_text")


def unstorable(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each place in a JSON-like value that cannot be stored: its dotted path and why."""
    if isinstance(value, str):
        if reason := why_unstorable(value):
            yield path, reason
    elif isinstance(value, dict):
        for key, item in value.items():
            if reason := why_unstorable(key):
                yield path, f"a key {reason}"
            else:
                yield from unstorable(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from unstorable(item, f"{path}.{index}" if path else str(index))
    elif isinstance(value, float) and not isfinite(value):
        yield path, _NOT_FINITE
    elif isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
        yield path, _TOO_LARGE


def why_unstorable(text: str) -> str | None:
    """Why `text` cannot be stored, or None when it can."""
    if "\x00" in text:
        return "contains the character U+0000"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains a lone surrogate"
    return None

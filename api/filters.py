"""What does a query parameter say? Read strictly; the error names the parameter."""

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from api.problem_details import wrong
from projections.tables import stored_time
from schemas.text import why_unstorable

MAX_FILTER = 300

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_UNESCAPED_PLUS = re.compile(r" (\d\d:\d\d)$", re.ASCII)


def chosen(query: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """The filters among `names` that are given. Raises `Problem` (422)."""
    return {name: _text(name, query[name]) for name in names if name in query}


def one_of(query: Mapping[str, str], name: str, words: Collection[str]) -> None:
    """Raise `Problem` (422) when a filter is given that is none of these words."""
    if name in query and query[name] not in words:
        raise wrong(name, f"must be one of {', '.join(words)}")


def flag(query: Mapping[str, str], name: str) -> bool:
    """Whether a flag is `true`; it is `false` unless given. Raises `Problem` (422)."""
    text = query.get(name, "false")
    if text not in ("true", "false"):
        raise wrong(name, "must be true or false")
    return text == "true"


def moment(query: Mapping[str, str], name: str) -> str | None:
    """A time as the read models hold it. Raises `Problem` (422)."""
    text = query.get(name)
    if text is None:
        return None
    try:
        # A plus sign that was not escaped arrives as a space.
        if not _RFC_3339.fullmatch(written := _UNESCAPED_PLUS.sub(r"+\1", text).upper()):
            raise ValueError
        return stored_time(datetime.fromisoformat(written))
    except (ValueError, OverflowError):
        raise wrong(name, "must be an RFC 3339 time such as 2026-11-24T12:00:00Z") from None


def _text(name: str, value: str) -> str:
    if not 1 <= len(value) <= MAX_FILTER:
        raise wrong(name, f"must have 1 to {MAX_FILTER} characters")
    if reason := why_unstorable(value):
        raise wrong(name, reason)
    return value

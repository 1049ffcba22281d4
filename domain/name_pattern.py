"""Which names does `web-*` mean? `*` stands for any number of characters, `?` for one; everything else for itself.

There is no regular expression: a match takes at most as many steps as name and pattern have characters, multiplied.
"""

import re

from domain.rejection import FieldError

MAX_PATTERN = 63
_PATTERN = re.compile(r"[a-z0-9*?-]{1,63}", re.ASCII)
PATTERN_RULE = "1 to 63 lower-case letters, digits, hyphens, * and ?"


def check_pattern(text: str, field: str) -> list[FieldError]:
    """What is wrong with a pattern; empty when nothing is."""
    return [] if _PATTERN.fullmatch(text) else [FieldError(field, f"must be {PATTERN_RULE}")]


def matches_pattern(pattern: str, name: str) -> bool:
    """Whether `name` as a whole is what `pattern` says."""
    if pattern[:1] not in ("*", "?", name[:1]):
        return False  # as most do that fail
    first, *others = pattern.split("*")
    if not others:
        return len(name) == len(first) and _stands(first, name, 0)
    *between, last = others
    at, end = len(first), len(name) - len(last)
    if at > end or not _stands(last, name, end) or not _stands(first, name, 0):
        return False
    for part in between:  # each as early as it can be: that leaves the most for those behind it
        found = _find(part, name, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _stands(part: str, name: str, at: int) -> bool:
    """Whether a part of a pattern without a star is what stands at `at` in the name, which is long enough for it."""
    if "?" not in part:
        return name.startswith(part, at)
    for wanted in part:
        if wanted not in ("?", name[at]):
            return False
        at += 1
    return True


def _find(part: str, name: str, at: int, end: int) -> int:
    """Where such a part stands first between `at` and `end`; -1 for nowhere."""
    if "?" not in part:
        return name.find(part, at, end)
    return next((here for here in range(at, end - len(part) + 1) if _stands(part, name, here)), -1)

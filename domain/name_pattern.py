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
    if "?" in pattern:
        return _matches_step_by_step(pattern, name)
    first, *others = pattern.split("*")
    if not others:
        return name == pattern
    *between, last = others
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for part in between:  # each as early as it can be: that leaves the most for those behind it
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _matches_step_by_step(pattern: str, name: str) -> bool:
    at, in_name, star, begin = 0, 0, -1, 0
    while in_name < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, begin = at, in_name
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", name[in_name]):
            at, in_name = at + 1, in_name + 1
        elif star >= 0:  # the last star takes one character more; those before it never need to
            begin += 1
            at, in_name = star + 1, begin
        else:
            return False
    return not pattern[at:].strip("*")

"""Under which conditions does the caller want this done? The headers of DESIGN §8, read strictly."""

import re

from starlette.datastructures import Headers

from api.problem_details import Problem
from domain.identity import CREDENTIAL, JOB, ROLE, RUN, TARGET, USER, is_run_id, is_slug
from schemas.position import Position, parse_position
from schemas.topics import BY_NAME

_ETAG = re.compile(r'"(0|[1-9][0-9]{0,17})"', re.ASCII)
_KEY = re.compile(r"[\x21-\x7e]{1,200}", re.ASCII)
_VERSION = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_MAX_LISTED = 1_000

ANY_VERSION = -1
"""`If-Match: *`: the thing must exist, in whatever version."""


def all_of(headers: Headers, name: str) -> str | None:
    """What a header says; one that is there more than once says it all, joined by commas (RFC 9110), never only the first."""
    said = headers.getlist(name)
    return ", ".join(said) if said else None


def expected_version(headers: Headers) -> int | None:
    """The version in `If-Match`: None without one, `ANY_VERSION` for `*`. Raises `Problem` (400)."""
    text = all_of(headers, "if-match")
    if text is None:
        return None
    if text.strip() == "*":
        return ANY_VERSION
    match = _ETAG.fullmatch(text.strip())
    if match is None:
        raise Problem("malformed_if_match", 'If-Match must be one strong quoted version such as "7", or *')
    return int(match[1])


def idempotency_key(headers: Headers) -> str | None:
    """The caller's own key for this command. Raises `Problem` (400)."""
    key = all_of(headers, "idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise Problem("malformed_header", "Idempotency-Key must be 1 to 200 visible ASCII characters")
    return key


def wants_async(headers: Headers) -> bool:
    """Whether the caller does not want to wait for the outcome."""
    preferred = re.split("[,;]", all_of(headers, "prefer") or "")
    return any(part.strip().lower() == "respond-async" for part in preferred)


def min_versions(headers: Headers) -> tuple[tuple[str, int], ...]:
    """The streams and versions in `Ops-Min-Version`. Raises `Problem` (400)."""
    return tuple(_stream_at(part) for part in _listed(all_of(headers, "ops-min-version"), "malformed_min_version"))


def min_positions(headers: Headers, shards: int) -> tuple[Position, ...]:
    """The positions in `Ops-Min-Position`. Raises `Problem` (400), also for a partition that is not there."""
    return tuple(_position(part, shards) for part in _listed(all_of(headers, "ops-min-position"), "malformed_min_position"))


def _listed(text: str | None, code: str) -> list[str]:
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > _MAX_LISTED:
        raise Problem(code, f"at most {_MAX_LISTED} may be listed")
    return parts


def _stream_at(part: str) -> tuple[str, int]:
    stream, _, version = part.partition("@")
    kind, _, name = stream.partition("/")
    named = is_run_id(name) if kind == RUN else kind in (TARGET, CREDENTIAL, USER, ROLE, JOB) and is_slug(name)
    if not named or not _VERSION.fullmatch(version):
        raise Problem("malformed_min_version", "write it as target/web-01@7, several separated by commas")
    return stream, int(version)


def _position(part: str, shards: int) -> Position:
    try:
        position = parse_position(part)
    except ValueError:
        raise Problem("malformed_min_position", "write it as targets/3/42, several separated by commas") from None
    topic = BY_NAME.get(position.topic)
    if topic is None or topic.holds not in ("events", "output") or position.shard >= shards:
        raise Problem("unknown_position", "there is no such partition")
    return position

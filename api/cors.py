"""Which pages of other origins may read what is answered? Those of the origins that the operator named exactly, and no others.

Nothing is ever allowed with credentials: a token is sent by the page itself, there are no cookies.
"""

from collections.abc import Set
from urllib.parse import urlsplit

Headers = tuple[tuple[bytes, bytes], ...]

_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_SENT = (
    b"Authorization, Content-Type, Idempotency-Key, If-Match, Last-Event-ID, "
    b"Ops-Min-Position, Ops-Min-Version, Prefer, X-Correlation-Id"
)
_READ = b"ETag, Location, Retry-After, X-Correlation-Id"
_KEPT_S = b"600"


def origins(text: str) -> frozenset[str]:
    """Origins separated by commas. Raises `ValueError` for what is not exactly a scheme, a host and perhaps a port."""
    found = frozenset(part.strip() for part in text.split(",") if part.strip())
    for origin in found:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}".lower():
            raise ValueError(f"{origin!r} is no origin: write it like https://ops.example.org, in lower case, without a path")
        if "@" in parts.netloc or "*" in parts.netloc:
            raise ValueError(f"{origin!r} is no exact origin")
    return found


def told(origin: str | None, allowed: Set[str]) -> Headers:
    """What every answer says about who may read it; nothing while no origin is allowed."""
    if not allowed:
        return ()
    vary = ((b"vary", b"Origin"),)
    if origin not in allowed or origin is None:
        return vary
    return (*vary, (b"access-control-allow-origin", origin.encode("ascii")), (b"access-control-expose-headers", _READ))


def asked_first(method: str, origin: str | None, wanted: str | None, allowed: Set[str]) -> Headers | None:
    """What a browser is told that asks before it sends the request itself; None for any other request."""
    if method != "OPTIONS" or wanted is None or origin not in allowed:
        return None
    return (
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _SENT),
        (b"access-control-max-age", _KEPT_S),
    )

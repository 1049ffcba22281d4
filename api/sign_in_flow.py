"""Is this the sign-in that was begun here? What a browser carries from its beginning to its end, signed with a key of ours.

Two things are carried, each for minutes: in a cookie the beginning of a sign-in with an identity provider (state, nonce and PKCE
verifier, so that only the browser that began it can end it), and to a program's loopback address (RFC 8252 §7.3) a grant that
only the program that asked can trade for tokens: it alone knows what its challenge was made of (RFC 7636).
"""

import base64
import hashlib
import hmac
import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

BEGUN_S, GRANT_S = 600, 60
"""How long a sign-in may take, and how long its grant may be traded."""
SESSION_S = 43_200
"""How long a session goes on before the identity provider has to say again who it is, and in which groups."""
_BY_PROVIDER = "idp-"
VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True, repr=False)
class Begun:
    """A sign-in that was begun; with a `port` it ends at that port of the browser's own machine, else with tokens."""

    state: str
    nonce: str
    verifier: str
    until: int
    port: int | None = None
    challenge: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Grant:
    """A sign-in that ended well: for whoever knows what `challenge` was made of."""

    user: str
    session: str
    challenge: str
    until: int


def session_of(ident: UUID) -> str:
    """The id of a session that an identity provider stands for, of a fresh UUIDv7: it says by whom and when it was begun."""
    return f"{_BY_PROVIDER}{ident}"


def begun_by_provider(session: str) -> bool:
    """Whether an identity provider stands for the session, not a password."""
    return session.startswith(_BY_PROVIDER)


def began_at(session: str) -> datetime:
    """When a session began: its id is of a UUIDv7 made then (RFC 9562 §5.7)."""
    return datetime.fromtimestamp((UUID(session.removeprefix(_BY_PROVIDER)).int >> 80) / 1_000, UTC)


def may_go_on(session: str, now: datetime) -> bool:
    """Whether a session may be refreshed: one that an identity provider stands for, only for `SESSION_S` seconds."""
    return not begun_by_provider(session) or now - began_at(session) < timedelta(seconds=SESSION_S)


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636 §4.2)."""
    return _b64(hashlib.sha256(verifier.encode()).digest())


def signed(key: bytes, carried: Begun | Grant) -> str:
    """What is carried, as text that only we can make."""
    body = _b64(json.dumps(asdict(carried), separators=(",", ":")).encode())
    return f"{body}.{_mac(key, type(carried), body)}"


def begun(key: bytes, text: str, now: int) -> Begun | None:
    """The beginning that `text` carries; None when it is none of ours or over."""
    said = _said(key, Begun, text)
    return Begun(**said) if said and now < said["until"] else None


def grant(key: bytes, text: str, now: int) -> Grant | None:
    """The grant that `text` carries; None when it is none of ours or over."""
    said = _said(key, Grant, text)
    return Grant(**said) if said and now < said["until"] else None


def _said(key: bytes, kind: type[Any], text: str) -> dict[str, Any] | None:
    body, _, mac = text.partition(".")
    if not hmac.compare_digest(_mac(key, kind, body).encode(), mac.encode()):
        return None
    said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return said


def _mac(key: bytes, kind: type[Any], body: str) -> str:
    return _b64(hmac.new(key, f"sign-in {kind.__name__}\0{body}".encode(), hashlib.sha256).digest())


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

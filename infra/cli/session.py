"""Who is signed in on this machine? The server's URL and the tokens, in a file only its owner can read."""

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

DEFAULT_URL = "http://127.0.0.1:8080"


class NoToken(Exception):
    """What is given as a token is none; it is not repeated."""


@dataclass
class Session:
    """Where to, and with which tokens."""

    url: str = DEFAULT_URL
    access_token: str | None = None
    refresh_token: str | None = None


def session_file() -> Path:
    """Where the session is kept."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "opsconductor" / "session.json"


def load(url: str | None) -> Session:
    """The kept session; with another `url` than the kept one, or where it cannot be one, a fresh one without tokens.

    A program has no session: what `OPSCONDUCTOR_TOKEN` holds, an API token, comes before any. Raises `NoToken` when it is none.
    """
    wanted = url or os.environ.get("OPSCONDUCTOR_URL")
    if given := os.environ.get("OPSCONDUCTOR_TOKEN"):
        if not _is_token(given):
            raise NoToken
        return Session(wanted or DEFAULT_URL, given)
    kept = _kept() or Session(wanted or DEFAULT_URL)
    if wanted and wanted.rstrip("/") != kept.url.rstrip("/"):
        return Session(wanted)
    return kept


def _kept() -> Session | None:
    try:
        kept = Session(**json.loads(session_file().read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return kept if isinstance(kept.url, str) and (kept.access_token is None or _is_token(kept.access_token)) else None


def _is_token(text: object) -> bool:
    """Whether it can be sent as a bearer token (RFC 6750 §2.1). What cannot is repeated by those who are to send it."""
    return isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", text) is not None


def forget() -> None:
    """Keep no session any more."""
    session_file().unlink(missing_ok=True)


def save(session: Session) -> None:
    """Keep the session, readable by its owner only, never half-written."""
    path = session_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(session), file)
    fresh.replace(path)

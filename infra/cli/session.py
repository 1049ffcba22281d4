"""Who is signed in on this machine? The server's URL and the tokens, in a file only its owner can read."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

DEFAULT_URL = "http://127.0.0.1:8080"


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
    """The kept session; with another `url` than the kept one, a fresh one without tokens.

    A program has no session: what `OPSCONDUCTOR_TOKEN` holds, an API token, comes before any.
    """
    wanted = url or os.environ.get("OPSCONDUCTOR_URL")
    if given := os.environ.get("OPSCONDUCTOR_TOKEN"):
        return Session(wanted or DEFAULT_URL, given)
    try:
        kept = Session(**json.loads(session_file().read_text()))
    except (OSError, ValueError, TypeError):
        kept = Session(wanted or DEFAULT_URL)
    if wanted and wanted.rstrip("/") != kept.url.rstrip("/"):
        return Session(wanted)
    return kept


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

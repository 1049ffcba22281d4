"""Can this address be meant? Judged before anything is opened; messages never repeat a URL that may hold a password."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
MAX_PORT = 65_535


def address(text: str) -> tuple[str, int]:
    """Host and port written as `host:port`; port 0 is any that is free. Raises `ValueError`."""
    host, _, port = text.rpartition(":")
    if not _PORT.fullmatch(port) or int(port) > MAX_PORT:
        raise ValueError(f"{text!r} is not host:port with a port of at most {MAX_PORT}")
    return host.strip("[]") or "127.0.0.1", int(port)


def check_log_url(url: str) -> str:
    """Nothing, `sqlite:///folder` or `kafka://host:port,…`. Raises `ValueError`."""
    if not url:
        return url
    if url.startswith("kafka://"):
        for broker in url.removeprefix("kafka://").rstrip("/").split(","):
            host, colon, port = broker.strip().rpartition(":")
            is_port = not colon or (_PORT.fullmatch(port) is not None and 0 < int(port) <= MAX_PORT)
            if not (host if colon else port) or not is_port or set(broker) & set("@/?#"):
                raise ValueError("expected kafka://host:port,…, without users or passwords")
        return url
    path_of(url)
    return url


def path_of(url: str) -> Path:
    """The folder of `sqlite:///folder`. Raises `ValueError`."""
    parts = urlsplit(url)
    if not url.startswith("sqlite://") or parts.netloc or not parts.path or parts.query or parts.fragment or "%00" in url:
        raise ValueError("expected sqlite:///folder or kafka://host:port,…")
    return Path(unquote(parts.path))


def check_database_url(url: str) -> str:
    """Nothing, `sqlite:///file` or `postgresql://…`. Raises `ValueError`."""
    if not url:
        return url
    from sqlalchemy import make_url  # here: the command line needs no database and starts without it
    from sqlalchemy.exc import ArgumentError

    expected = "expected sqlite:///file or postgresql://user:password@host:port/database"
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(expected) from None
    file = found.database or ""
    is_file = found.get_backend_name() == "sqlite" and not found.host and file not in ("", ":memory:") and "\0" not in file
    if not is_file and (found.get_backend_name() != "postgresql" or (found.port or 0) > MAX_PORT):
        raise ValueError(expected)
    return url


def check_redis_url(url: str) -> str:
    """Nothing, or `redis://…`, `rediss://…`, `unix:///socket`. Raises `ValueError`."""
    if not url:
        return url
    expected = "expected redis://host:port/number, rediss://… or unix:///socket"
    try:
        parts = urlsplit(url)
        where = parts.path if parts.scheme == "unix" else (parts.port or 1) and parts.hostname
    except ValueError:
        raise ValueError(expected) from None
    if not where or not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError(expected)
    return url


def check_web_url(url: str) -> str:
    """Nothing, or `https://host…` (or http). Raises `ValueError`."""
    expected = "expected https://host, perhaps with a port and a path"
    try:
        parts = urlsplit(url)
        meant = not url or (parts.scheme in ("http", "https") and parts.hostname and parts.port != 0)
    except ValueError:
        raise ValueError(expected) from None
    if not meant:
        raise ValueError(expected)
    return url

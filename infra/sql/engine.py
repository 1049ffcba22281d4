"""How are the databases of the read models opened?

Postgres: psycopg 3 with a bounded, checked pool; every wait has an end (HAZARDS R48, R49). SQLite: exactly one connection
writes and checkpoints, all others can only read (HAZARDS D8, R50); a process opens a file's writing engine once, and shares it.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text

from projections.tables import bookkeeping, metadata

STATEMENT_TIMEOUT_S = 30
POOL_TIMEOUT_S = 5
BUSY_TIMEOUT_S = 5

_CREATION_LOCK = 7_100_001
"""The Postgres advisory lock under which tables are created; any number that is ours."""


def open_engine(url: str) -> Engine:
    """The writing engine of `sqlite:///path` or `postgresql://…`. Raises `ValueError` for any other kind of address."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, read_only=False)
    return _postgres(parsed, read_only=False)


def open_reader(url: str) -> Engine:
    """An engine that can only read; open the writing one first. On SQLite each transaction sees one snapshot."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, read_only=True)
    return _postgres(parsed, read_only=True)


def create_all(engine: Engine) -> None:
    """Create the read models' tables where they are absent; any number of processes may do so at once."""
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CREATION_LOCK})
        metadata.create_all(connection)
        bookkeeping.create_all(connection)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


_COMMON: Mapping[str, Any] = {"json_serializer": _json, "json_deserializer": orjson.loads, "hide_parameters": True}
"""`hide_parameters`: no error message repeats what was to be stored."""


def _postgres(url: URL, read_only: bool) -> Engine:
    if url.get_backend_name() != "postgresql":
        raise ValueError(f"read models live in sqlite:///… or postgresql://…, not {url.get_backend_name()}")
    limits = [f"statement_timeout={STATEMENT_TIMEOUT_S}s", "idle_in_transaction_session_timeout=60s", "timezone=UTC"]
    if read_only:
        limits.append("default_transaction_read_only=on")
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=5 if not read_only else 10,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        pool_pre_ping=True,
        connect_args={
            "options": " ".join(f"-c {limit}" for limit in limits),
            "connect_timeout": 5,
            "tcp_user_timeout": 15_000,
            "keepalives": 1,
            "keepalives_idle": 5,
            "keepalives_interval": 3,
            "keepalives_count": 3,
            "application_name": "opsconductor",
        },
        **_COMMON,
    )


def _sqlite(url: URL, read_only: bool) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ValueError("the read models need a file: sqlite:////path/to/file")
    file = f"file:{quote(url.database)}" + ("?mode=ro" if read_only else "")
    if not read_only:
        _keep_from_others(Path(url.database))
    engine = create_engine(
        URL.create("sqlite", database=file, query={"uri": "true"}),
        pool_size=10 if read_only else 1,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S, "isolation_level": None},
        **_COMMON,
    )
    event.listen(engine, "connect", _prepare_reader if read_only else _prepare_writer)
    event.listen(engine, "begin", _begin_reading if read_only else _begin_writing)
    return engine


def _keep_from_others(file: Path) -> None:
    """A new file is its owner's alone, whoever may look into the folder; SQLite gives those beside it the same mode."""
    with contextlib.suppress(OSError):  # what cannot be made is told when it is opened
        file.touch(mode=0o600)


def _prepare_writer(connection: Any, record: Any) -> None:
    for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}").close()


def _prepare_reader(connection: Any, record: Any) -> None:
    for setting in ("query_only=ON", "wal_autocheckpoint=0"):
        connection.execute(f"PRAGMA {setting}").close()


def _begin_writing(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")

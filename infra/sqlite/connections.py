"""How is the log's file opened?

Exactly one connection of the one process that holds the folder writes and checkpoints; every other connection is read-only and
never checkpoints (HAZARDS D8, R50): two connections that write or checkpoint at the same instant can corrupt the file.
"""

import logging
import sqlite3
from pathlib import Path

from infra.sqlite.layout import FORMAT, MAX_SHARDS, TABLES, Layout
from infra.sqlite.lock import FolderUnsuitable
from schemas.topics import TABLE

LOG_FILE = "log.sqlite3"

_log = logging.getLogger(__name__)

Version = tuple[int, int, int]


def has_wal_reset_bug(version: Version) -> bool:
    """Whether this SQLite may corrupt a file that two connections write or checkpoint at once (sqlite.org/wal.html)."""
    fixed = (3, 44, 6) <= version < (3, 45, 0) or (3, 50, 7) <= version < (3, 51, 0) or version >= (3, 51, 3)
    return version >= (3, 7, 0) and not fixed


def warn_of_old_version(version: Version) -> None:
    """Log a warning when this SQLite has the bug; our single writing connection keeps clear of it, foreign tools may not."""
    if has_wal_reset_bug(version):
        shown = ".".join(map(str, version))
        _log.warning("SQLite %s has the WAL-reset bug: let no other program write to %s (fixed in 3.51.3)", shown, LOG_FILE)


def open_writer(folder: Path) -> sqlite3.Connection:
    """The one connection that writes; the folder's lock must be held."""
    warn_of_old_version(sqlite3.sqlite_version_info)
    (folder / LOG_FILE).touch(mode=0o600)  # SQLite gives its other files the same mode.
    connection = sqlite3.connect(folder / LOG_FILE, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA busy_timeout=5000")
    connection.execute("PRAGMA page_size=8192")
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        connection.close()
        raise FolderUnsuitable(f"{folder} cannot hold a write-ahead log (SQLite chose {mode})")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    return connection


def open_reader(folder: Path) -> sqlite3.Connection:
    """A connection that can only read."""
    uri = f"{(folder / LOG_FILE).absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA busy_timeout=5000")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA query_only=1")
    return connection


def create(connection: sqlite3.Connection, shards: int) -> None:
    """Make the tables if they are not there, and give every topic of our table its number."""
    if not 1 <= shards <= MAX_SHARDS:
        raise FolderUnsuitable(f"a log has 1 to {MAX_SHARDS} shards, not {shards}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone() == (0,):
            for table in TABLES:
                connection.execute(table)
            connection.execute("INSERT INTO log VALUES ('shards', ?)", (shards,))
            connection.execute(f"PRAGMA user_version={FORMAT}")
        connection.executemany("INSERT OR IGNORE INTO topics (name) VALUES (?)", [(topic.name,) for topic in TABLE])
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def layout_of(connection: sqlite3.Connection) -> Layout:
    """The layout that the file was made with. Raises `FolderUnsuitable` when this program does not know it."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != FORMAT:
        raise FolderUnsuitable(f"the log has format {version}; this program knows {FORMAT}")
    (shards,) = connection.execute("SELECT value FROM log WHERE name = 'shards'").fetchone()
    return Layout(shards, dict(connection.execute("SELECT name, number FROM topics")))


def check_shards(layout: Layout, wanted: int) -> None:
    """Raise `FolderUnsuitable` unless the log was made with `wanted` shards."""
    if layout.shards != wanted:
        raise FolderUnsuitable(f"the log was created with {layout.shards} shards, which cannot change; {wanted} were asked for")

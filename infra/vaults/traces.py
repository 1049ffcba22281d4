"""Where is a row still to be found after it was deleted, and how does it go from there, too?

SQLite: in the free space of the file's pages, and in the write-ahead log. What is deleted is overwritten with zeros; the log is
written into the file and cut to nothing; then the file is searched for pieces of the rows, which moving cells about within it
may have left behind, and when some are found the whole file is written anew. Postgres: dead rows lie in the table's file until it
is written anew, which is done; what stays in its write-ahead log and in backups is for who keeps those to end
(docs/explanation/secrets.md).
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, delete, select

from infra.vaults.tables import secrets
from schemas.vault import VaultError

_PIECE, _EVERY = 32, 1024
_AT_ONCE = 4 * 1024 * 1024
_READERS_GO_WITHIN_S = 10.0


class TracesLeft(VaultError):
    """The secrets are destroyed, but copies of their rows may still lie in the database's files."""


@contextmanager
def zeroing(connection: Connection) -> Iterator[None]:
    """What is deleted in here is overwritten, on SQLite."""
    on_sqlite = connection.dialect.name == "sqlite"
    if on_sqlite:
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
    try:
        yield
    finally:
        if on_sqlite:
            connection.exec_driver_sql("PRAGMA secure_delete=OFF")


class Traces:
    """Destroys rows of the vault so that nothing of them is left. Blocks."""

    def __init__(self, writer: Engine) -> None:
        self._writer = writer
        self._file: int | None = None

    def shred(self, secret_ids: Sequence[str]) -> None:
        """Delete the rows, and what is left of them. Raises `TracesLeft`, `SQLAlchemyError`."""
        pieces: list[bytes] = []
        with self._writer.begin() as connection, zeroing(connection):
            for row in connection.execute(select(secrets).where(secrets.c.secret_id.in_(secret_ids))):
                pieces += _pieces(row.wrapped) + _pieces(row.sealed)
            connection.execute(delete(secrets).where(secrets.c.secret_id.in_(secret_ids)))
        if self._writer.dialect.name == "postgresql":
            with self._writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM (FULL) vault_secrets")
            return
        held = self._writer.raw_connection()  # the only one that writes: nothing moves meanwhile
        try:
            self._clean(held.driver_connection, pieces)
        finally:
            held.close()

    def _clean(self, connection: Any, pieces: Sequence[bytes]) -> None:
        _cut_log(connection)
        if not self._finds(pieces):
            return
        connection.execute("VACUUM").close()
        _cut_log(connection)
        if self._finds(pieces):
            raise TracesLeft("the file still holds pieces of what was destroyed")

    def _finds(self, pieces: Sequence[bytes]) -> bool:
        """Whether any piece is somewhere in the file."""
        if self._file is None:
            # Never closed: closing any descriptor of a file drops the locks that SQLite holds on it (HAZARDS R50).
            self._file = os.open(str(self._writer.url.database).removeprefix("file:"), os.O_RDONLY)
        place, before = 0, b""
        while part := os.pread(self._file, _AT_ONCE, place):
            held = before + part
            if any(piece in held for piece in pieces):
                return True
            place, before = place + len(part), held[-_PIECE:]
        return False


def _pieces(blob: bytes) -> list[bytes]:
    """Some of its bytes from all over it; a copy that was partly overwritten shows at least one."""
    return [blob[at : at + _PIECE] for at in (*range(0, len(blob), _EVERY), max(0, len(blob) - _PIECE))]


def _cut_log(connection: Any) -> None:
    """Write the write-ahead log into the file and cut it to nothing, once those who read it have gone. Raises `TracesLeft`."""
    until = time.monotonic() + _READERS_GO_WITHIN_S
    while True:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            return
        if time.monotonic() > until:
            raise TracesLeft("somebody reads an older state of the database and does not end")
        time.sleep(0.05)

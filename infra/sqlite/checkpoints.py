"""When does the write-ahead log go into the file?

The writer checkpoints by itself, after it has answered: nobody's commit waits for it. A checkpoint passes round readers; one
that reads on for long keeps the write-ahead log from starting over, so beyond a size the writer insists, for a moment, and warns.
"""

import logging
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

CHECKPOINT_BYTES = 8 * 1024 * 1024
"""Bytes of records written since the last checkpoint that make the next one due."""

CHECKPOINT_TRANSACTIONS = 1_000
"""So do so many transactions: each writes whole pages, so a thousand small ones make tens of megabytes."""

LARGE_BYTES = 128 * 1024 * 1024
"""The size of the write-ahead log from which on a truncating checkpoint is tried."""

INSIST_EVERY_S = 10.0
_INSIST_MS = 100

_log = logging.getLogger(__name__)


class Checkpoints:
    """Decides after each transaction of the writer whether a checkpoint is due."""

    def __init__(self, file: Path) -> None:
        self._wal = file.with_name(file.name + "-wal")
        self._unsaved = self._transactions = 0
        self._insisted = float("-inf")

    def wal_bytes(self) -> int:
        """The size of the write-ahead log's file."""
        try:
            return self._wal.stat().st_size
        except FileNotFoundError:
            return 0

    def written(self, size: int) -> None:
        """Note a transaction of `size` bytes."""
        self._unsaved += size
        self._transactions += 1

    def keep_up(self, connection: sqlite3.Connection) -> None:
        """Checkpoint when one is due. A failing disk is told to those who write; this one is then tried again."""
        if self._unsaved < CHECKPOINT_BYTES and self._transactions < CHECKPOINT_TRANSACTIONS:
            return
        with suppress(sqlite3.Error):
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self._unsaved = self._transactions = 0
            if self.wal_bytes() > LARGE_BYTES and time.monotonic() - self._insisted > INSIST_EVERY_S:
                self._insist(connection)

    def _insist(self, connection: sqlite3.Connection) -> None:
        self._insisted = time.monotonic()
        connection.execute(f"PRAGMA busy_timeout={_INSIST_MS}")
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        connection.execute("PRAGMA busy_timeout=5000")
        if busy:
            _log.warning("the write-ahead log has %d MB: a reader keeps an old transaction open", self.wal_bytes() >> 20)

"""How do finite topics stay finite?

The writer deletes what is older than the topic's retention, a bite at a time between two transactions, oldest first. Three
things stay whatever their age: events, commands that the owner has not consumed, and the newest record of each partition.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from itertools import takewhile

from infra.sqlite.layout import Layout, Row, record_of
from infra.sqlite.transaction import Standing
from schemas.outcome import Outcome
from schemas.position import Partition
from schemas.topics import BY_NAME, FOR_EVER, OUTCOMES
from schemas.wire import decode

BITE = 200
"""Records deleted in one transaction."""

EVERY_S = 60.0
"""How long after nothing was left to delete the next search begins."""

_PAUSE_S = 0.02


class Pruning:
    """Remembers when the next bite is due."""

    def __init__(self, layout: Layout, clock: Callable[[], float]) -> None:
        self._layout = layout
        self._clock = clock
        self._due = time.monotonic()
        self._finite = [p for p in layout.partitions() if BY_NAME[p.topic].retention_ms != FOR_EVER]

    def due_in_s(self) -> float:
        """Seconds until the next bite."""
        return max(0.0, self._due - time.monotonic())

    def bite(self, connection: sqlite3.Connection, standing: Standing) -> None:
        """Delete one bite of one partition, if one is due. Raises `sqlite3.Error`; nothing is deleted then."""
        if self.due_in_s() > 0:
            return
        self._due = time.monotonic() + EVERY_S
        for partition in self._finite:
            if old := self._old(connection, standing, partition):
                self._delete(connection, partition, old)
                self._due = time.monotonic() + _PAUSE_S
                return

    def _old(self, connection: sqlite3.Connection, standing: Standing, partition: Partition) -> Sequence[Row]:
        first, newest = self._layout.first_id(partition), standing.next_id[partition] - 1
        bound = min(newest, standing.consumed.get(partition, newest))
        query = "SELECT * FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
        oldest = connection.execute(query, (first, bound, 1)).fetchall()
        before_ms = int(self._clock() * 1000) - BY_NAME[partition.topic].retention_ms
        if not oldest or oldest[0][4] >= before_ms:
            return ()
        rows: Sequence[Row] = connection.execute(query, (first, bound, BITE)).fetchall()
        return list(takewhile(lambda row: row[4] < before_ms, rows))

    def _delete(self, connection: sqlite3.Connection, partition: Partition, old: Sequence[Row]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute("DELETE FROM records WHERE id BETWEEN ? AND ?", (old[0][0], old[-1][0]))
            if partition.topic == OUTCOMES:
                forgotten = [(outcome.command_id.bytes, row) for row, outcome in self._outcomes(partition, old)]
                connection.executemany("DELETE FROM outcome_ids WHERE command_id = ? AND record = ?", forgotten)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _outcomes(self, partition: Partition, rows: Sequence[Row]) -> Sequence[tuple[int, Outcome]]:
        read = [(row[0], decode(*partition, self._layout.shards, record_of(row[1], row[2], row[3]))) for row in rows]
        return [(row, body) for row, body in read if isinstance(body, Outcome)]

"""What was written last, kept in memory for those who follow the log: no way to another thread, and no look at the file.

Python's SQLite gives up the interpreter for every row and every column it hands out. Where many threads work, whoever read the
newest records so waited in line for each of them: most of the waiting of a run on a hundred targets was this.
"""

from collections import deque
from collections.abc import Mapping, Sequence

from infra.sqlite.layout import Layout, Row
from infra.sqlite.reading import MOST_KEPT_BYTES, Stretch, decoded
from schemas.log import Recorded
from schemas.position import Partition, Position

MOST_RECORDS = 2_000
"""How many records are kept altogether; each is at most `MOST_KEPT_BYTES` long."""
MOST_AT_ONCE = 200
"""How many are handed out with one read: they are decoded in the event loop, where others wait."""


class Newest:
    """The newest committed records, of each partition a stretch without gaps up to its end. Belongs to the event loop.

    What retention has deleted since may still be handed out from here: it was there a moment ago.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._rows: dict[Partition, deque[Row]] = {}
        self._order: deque[tuple[Partition, int]] = deque()

    def committed(self, next_ids: Mapping[Partition, int], rows: Sequence[tuple[Partition, Row]]) -> None:
        """These rows are committed, and their partitions end at `next_ids` now."""
        for partition, row in rows:
            kept = self._rows.get(partition)
            if kept is None or (kept and kept[-1][0] + 1 != row[0]) or len(row[2]) > MOST_KEPT_BYTES:
                kept = self._rows[partition] = deque()
            if len(row[2]) <= MOST_KEPT_BYTES:
                kept.append(row)
                self._order.append((partition, row[0]))
        for partition, next_id in next_ids.items():
            kept = self._rows.get(partition)
            if kept and kept[-1][0] + 1 != next_id:  # what a commit in doubt had written was never told
                kept.clear()
        while len(self._order) > MOST_RECORDS:
            partition, oldest = self._order.popleft()
            kept = self._rows[partition]
            if kept and kept[0][0] == oldest:  # else its partition began anew since
                kept.popleft()

    def read_on(self, stretches: Sequence[Stretch], limit: int) -> Sequence[Recorded] | None:
        """Up to `limit` records of these stretches, one after the other, as `reading.read_on`, and no more than `MOST_AT_ONCE`;
        None unless all begin here.
        """
        limit = min(limit, MOST_AT_ONCE)
        starts = [(stretch, self._start(stretch)) for stretch in stretches]
        if any(start is None for _, start in starts):
            return None
        found: list[Recorded] = []
        for stretch, start in starts:
            assert start is not None
            rows = self._rows[stretch.partition]
            first = self._layout.first_id(stretch.partition)
            for index in range(start, min(len(rows), start + limit - len(found), start + stretch.end - stretch.start)):
                row, key, value, headers, _ = rows[index]
                body = decoded(*stretch.partition, self._layout.shards, key, value, headers)
                found.append(Recorded(Position(*stretch.partition, row - first), body))
        return found

    def _start(self, stretch: Stretch) -> int | None:
        """Where the stretch begins among the rows kept of its partition."""
        rows = self._rows.get(stretch.partition)
        if not rows:
            return None
        start = self._layout.first_id(stretch.partition) + stretch.start - rows[0][0]
        return start if 0 <= start < len(rows) else None

"""Does a consumer that we do not control still get on? (HAZARDS R22, D4)

A committed position that does not move proves nothing: transaction markers stand behind the last event for ever. So a second
reader looks: when an event waits behind a position that has not moved for long, the consumer is stuck, and its process must end.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from processors.delivery import Sleep
from processors.processor import Clock
from schemas.log import EventReader, LogError
from schemas.position import Partition

LOOK_EVERY_S = 5.0
READ_WITHIN_S = 2.0

Committed = Callable[[], Mapping[Partition, int | None]]


class Stuck(Exception):
    """Events wait in a partition and the consumer's committed position has not moved for too long."""


@dataclass(slots=True)
class _Seen:
    position: int
    since: float
    nothing_before: int = 0  # the end of the partition up to which nothing but markers was found


class Watchdog:
    """Watches the partitions that `committed` names with their committed positions (None: none yet)."""

    def __init__(self, reader: EventReader, committed: Committed, stuck_after_s: float) -> None:
        self._reader = reader
        self._committed = committed
        self._stuck_after_s = stuck_after_s
        self._seen: dict[Partition, _Seen] = {}

    async def watch(self, clock: Clock, sleep: Sleep) -> None:
        """Look again and again. Raises `Stuck`."""
        while True:
            await sleep(LOOK_EVERY_S)
            try:
                await self.look(clock.monotonic())
            except LogError:
                self._seen.clear()  # what cannot be read tells nothing about the consumer

    async def look(self, now: float) -> None:
        """One look. Raises `Stuck`."""
        committed = self._committed()
        ends = await self._reader.ends(list(committed))
        self._seen = {partition: seen for partition, seen in self._seen.items() if partition in committed}
        for partition, position in committed.items():
            seen = self._seen.get(partition)
            # A partition nobody committed in yet is watched from the end it had when it was first seen.
            place = position if position is not None else seen.position if seen else ends[partition]
            if seen is None or seen.position != place:
                self._seen[partition] = _Seen(place, now)
        late = {p: seen for p, seen in self._seen.items() if now - seen.since >= self._stuck_after_s}
        await self._prove({p: seen for p, seen in late.items() if ends[p] > max(seen.position, seen.nothing_before)}, ends)

    async def _prove(self, late: Mapping[Partition, _Seen], ends: Mapping[Partition, int]) -> None:
        if not late:
            return
        feed = await self._reader.feed({partition: seen.position for partition, seen in late.items()})
        try:
            waiting = await feed.read(1, READ_WITHIN_S)
        finally:
            await feed.close()
        if waiting:
            position = waiting[0].position
            raise Stuck(f"{position} waits, and the committed position {late[position.partition].position} does not move")
        for partition, seen in late.items():
            seen.nothing_before = ends[partition]

"""Does a consumer that we do not control still get on? (HAZARDS R22, D4)

A committed position that does not move proves nothing: transaction markers stand behind the last event for ever. So a second
reader looks: when an event has been waiting for long behind a position that has not moved, the consumer is stuck, and its process
must end.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from processors.delivery import Sleep
from processors.processor import Clock
from schemas.log import EventReader, LogError
from schemas.position import Partition, Position

LOOK_EVERY_S = 5.0
READ_WITHIN_S = 2.0

Committed = Callable[[], Mapping[Partition, int | None]]


class Stuck(Exception):
    """Events wait in a partition and the consumer's committed position has not moved for too long."""


@dataclass(slots=True)
class _Seen:
    position: int
    since: float
    nothing_before: int  # the end of the partition up to which nothing but markers was found
    waits: Position | None = None  # the event that was found behind the position
    found_at: float = 0.0


class Watchdog:
    """Watches the partitions that `committed` names with their committed positions (None: none yet).

    A position that has not moved for half of `stuck_after_s` is looked behind; what is found there must then wait for the other
    half: in a partition where nothing happened for an hour the first event is no older than a moment.
    """

    def __init__(self, reader: EventReader, committed: Committed, stuck_after_s: float) -> None:
        self._reader = reader
        self._committed = committed
        self._half_s = stuck_after_s / 2
        self._seen: dict[Partition, _Seen] = {}
        self.trouble: str | None = None
        """Why the last look told nothing, or None."""

    async def watch(self, clock: Clock, sleep: Sleep) -> None:
        """Look again and again. Raises `Stuck`."""
        while True:
            await sleep(LOOK_EVERY_S)
            try:
                await self.look(clock.monotonic())
                self.trouble = None
            except LogError as error:
                self._seen.clear()  # what cannot be read tells nothing about the consumer
                self.trouble = f"the log cannot be read: {error}"

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
                self._seen[partition] = _Seen(place, now, nothing_before=place)
            elif seen.waits and now - seen.found_at >= self._half_s:
                raise Stuck(f"{seen.waits} waits, and the committed position {place} does not move")
        unmoved = {p: seen for p, seen in self._seen.items() if not seen.waits and now - seen.since >= self._half_s}
        await self._look_behind({p: seen for p, seen in unmoved.items() if ends[p] > seen.nothing_before}, ends, now)

    async def _look_behind(self, unmoved: Mapping[Partition, _Seen], ends: Mapping[Partition, int], now: float) -> None:
        if not unmoved:
            return
        feed = await self._reader.feed({partition: seen.position for partition, seen in unmoved.items()})
        try:
            waiting = await feed.read(1, READ_WITHIN_S)
        finally:
            await feed.close()
        for event in waiting:
            seen = unmoved[event.position.partition]
            seen.waits, seen.found_at = event.position, now
        for partition, seen in unmoved.items() if not waiting else ():
            seen.nothing_before = ends[partition]

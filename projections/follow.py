"""How do events become rows, all the time?

One feed over all topics is the front. The projections that stand at the front advance together, in one transaction a batch;
those that are behind, stopped once or being rebuilt catch up on feeds of their own and join. After each commit, whoever waits
for the streams that changed is told.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection

from projections.all import TABLE
from projections.apply import Applier
from projections.bookkeeping import Opened, open_all, partitions_of, requested_rebuilds, set_status
from projections.catch_up import CatchUp, facts_of, front_of, set_out
from projections.continuity import Continuity
from projections.fact import Fact
from projections.persistence import Persistent
from projections.place import Place, PositionsMoved
from projections.projection import Projection
from projections.read_store import ReadStore, StoreUnavailable
from projections.rebuild import begin_rebuild, give_up, note_progress, put_in_place
from schemas.log import EventReader, Feed, LogError, LogTruncated
from schemas.position import Partition
from schemas.run_output import OutputChunk
from schemas.wakeups import RECENT_CHANGES, RECENT_EVENTS, Wakeups

BATCH = 500
"""At most so many records go into one transaction of the front."""

_IDLE_WAIT_S = 0.1
_OUTPUT_WAITS_S = 0.01
"""How long output alone waits for the events that follow it: every step's end comes right behind what it wrote."""

_LOOK_FOR_WISHES_S = 0.5
_PAUSE_AFTER_LOG_ERROR_S = 0.5


class Follower:
    """Keeps all projections up to date. `run` goes on until it is cancelled, or the log has lost what is still to be read."""

    def __init__(
        self, reader: EventReader, store: ReadStore, wakeups: Wakeups, projections: Sequence[Projection] = TABLE
    ) -> None:
        self._reader = reader
        self._store = Persistent(store)
        self._wakeups = wakeups
        self._projections = tuple(projections)
        self._log_trouble: str | None = "the projections have not begun"

    @property
    def trouble(self) -> str | None:
        """Why the projections as a whole do not advance, or None. Single stopped ones are in `position.status`."""
        return self._store.trouble or self._log_trouble

    async def run(self) -> None:
        """Follow the log. Raises `LogTruncated` after noting it with every projection: nothing is skipped."""
        while True:
            session = _Session(self._reader, self._store, self._wakeups, self._projections)
            try:
                await session.open()
                self._log_trouble = None
                while True:
                    await session.turn()
            except PositionsMoved:
                continue
            except LogTruncated as error:
                self._log_trouble = f"log_truncated: {error}"
                await self._store.transact(partial(_stop_all, projections=self._projections, reason=self._log_trouble))
                raise
            except LogError as error:
                self._log_trouble = f"the log cannot be read: {error}"
                await asyncio.sleep(_PAUSE_AFTER_LOG_ERROR_S)
            finally:
                await session.close()


def _has_events(facts: Sequence[Fact]) -> bool:
    """Whether there is anything but output."""
    return any(not isinstance(fact.body, OutputChunk) for fact in facts)


def _stop_all(connection: Connection, projections: Sequence[Projection], reason: str) -> None:
    for projection in projections:
        set_status(connection, projection.name, {"state": "stopped", "error": reason})


class _Session:
    """From reading the positions until something makes it necessary to read them again."""

    def __init__(self, reader: EventReader, store: Persistent, wakeups: Wakeups, projections: Sequence[Projection]) -> None:
        self._reader = reader
        self._store = store
        self._wakeups = wakeups
        self._projections = projections
        self._applier = Applier(store)
        self._continuity = Continuity()
        self._feed: Feed | None = None
        self._members: list[Place] = []
        self._behind: dict[str, CatchUp] = {}
        self._generations: dict[str, int] = {}
        self._front: dict[Partition, int] = {}
        self._looked_at = 0.0
        self._turns = 0

    async def open(self) -> None:
        """Find out where every projection stands, and set out from there."""
        shards = self._reader.shards
        opened = await self._store.transact(partial(open_all, projections=self._projections, shards=shards))
        topics = {topic for projection in self._projections for topic in projection.topics}
        ends = await self._reader.ends(partitions_of(sorted(topics), shards))
        current = [found for found in opened if not found.outdated]
        self._front = front_of([found.place for found in current], ends)
        self._feed = await self._reader.feed(self._front)
        self._generations = {found.place.projection.name: found.generation for found in opened}
        for found in opened:
            await self._admit(found)

    async def _admit(self, found: Opened) -> None:
        place = found.place
        if found.outdated or found.rebuild_requested:
            await self._rebuild(place.projection)
        if found.outdated:
            return
        if self._is_at_front(place) and not found.stopped:
            self._members.append(place)
        else:
            self._behind[place.name] = await set_out(place, self._reader, self._store)

    def _is_at_front(self, place: Place) -> bool:
        return all(offset == self._front[p] for p, offset in place.positions.items())

    async def turn(self) -> None:
        """The front goes on by a batch, then one of those behind does."""
        assert self._feed is not None
        wait = 0.0 if self._behind else _IDLE_WAIT_S
        facts = await self._facts(self._feed, BATCH, wait)
        if facts and not _has_events(facts):
            await asyncio.sleep(_OUTPUT_WAITS_S)
            facts += await self._facts(self._feed, BATCH, 0.0)
        after = dict(self._feed.positions)
        if after != self._front:
            stopped = await self._applier.apply(self._members, facts, after)
            self._front = after
            self._members = [place for place in self._members if place not in stopped]
            await self._tell(facts)
        if self._behind:
            await self._step_one_behind()
        await self._look_for_wishes()

    async def _facts(self, feed: Feed, limit: int, within_s: float) -> list[Fact]:
        return await facts_of(feed, limit, within_s, self._continuity, self._store)

    async def _tell(self, facts: Sequence[Fact]) -> None:
        streams = {fact.stream for fact in facts if fact.stream is not None}
        if streams:
            recent = [RECENT_EVENTS, RECENT_CHANGES] if _has_events(facts) else [RECENT_CHANGES]
            await self._wakeups.wake([*sorted(streams), *recent])

    async def _step_one_behind(self) -> None:
        self._turns += 1
        name = list(self._behind)[self._turns % len(self._behind)]
        catching = self._behind[name]
        if not await catching.step(self._front):
            await self._drop(name)
            return
        rebuilt = catching.place.name != catching.place.projection.name
        if catching.has_arrived(self._front):
            await (self._swap(name, catching) if rebuilt else self._join(name, catching.place))
        elif rebuilt:
            await note_progress(catching.place, self._front, self._store)

    async def _join(self, name: str, place: Place) -> None:
        live = {"state": "live", "stopped_at": None, "error": None}
        await self._store.transact(partial(set_status, projection=place.projection.name, values=live))
        self._members.append(place)
        await self._behind.pop(name).close()

    async def _swap(self, name: str, catching: CatchUp) -> None:
        projection = catching.place.projection
        generation = self._generations[projection.name] + 1
        try:
            place = await put_in_place(catching.place, generation, self._store)
        except StoreUnavailable:
            return  # readers hold the tables; the front goes on and the next turn tries again
        self._generations[projection.name] = generation
        self._members = [member for member in self._members if member.projection is not projection]
        self._members.append(place)
        await self._behind.pop(name).close()
        if old := self._behind.pop(projection.name, None):
            await old.close()

    async def _drop(self, name: str) -> None:
        catching = self._behind.pop(name)
        await catching.close()
        if catching.place.name != catching.place.projection.name:
            projection = catching.place.projection
            is_live = any(member.projection is projection for member in self._members)
            await give_up(projection, is_live or projection.name in self._behind, self._store)

    async def _look_for_wishes(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._looked_at < _LOOK_FOR_WISHES_S:
            return
        self._looked_at = now
        wished = await self._store.transact(requested_rebuilds)
        for projection in self._projections:
            if projection.name in wished and not self._is_being_rebuilt(projection):
                await self._rebuild(projection)

    def _is_being_rebuilt(self, projection: Projection) -> bool:
        return any(c.place.projection is projection and c.place.name != projection.name for c in self._behind.values())

    async def _rebuild(self, projection: Projection) -> None:
        generation = self._generations[projection.name] + 1
        place = await begin_rebuild(projection, generation, self._reader.shards, self._store)
        self._behind[place.name] = await set_out(place, self._reader, self._store)

    async def close(self) -> None:
        """Give the feeds back."""
        for catching in self._behind.values():
            await catching.close()
        if self._feed is not None:
            await self._feed.close()

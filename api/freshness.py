"""Has the read model come far enough for this answer? Waited for, bounded; then 503 `projection_lag` (DESIGN §8)."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from sqlalchemy import Connection

from api.problem_details import Problem
from api.read_models import ReadModels
from domain.identity import CREDENTIAL, JOB, KEY, ROLE, RUN, TARGET, USER, kind_of
from projections.all import BY_NAME
from projections.position import has_reached, version_applied
from schemas.log import EventReader
from schemas.position import Partition, Position
from schemas.topics import EVENT_TOPIC
from schemas.wakeups import RECENT_CHANGES, Wakeups

MAIN: Mapping[str, str] = {
    TARGET: "targets", CREDENTIAL: "credentials", USER: "users", ROLE: "roles", JOB: "jobs", RUN: "runs", KEY: "events",
}  # fmt: skip
"""The projection that shows each aggregate type itself; of keys, what happened to them."""

_UNCOUNTED: AbstractContextManager[None] = nullcontext()
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.25


class Freshness:
    """Waits for projections, at most `within_s` seconds a call."""

    def __init__(self, models: ReadModels, reader: EventReader, wakeups: Wakeups, within_s: float) -> None:
        self._models, self._reader, self._wakeups, self._within_s = models, reader, wakeups, within_s

    async def versions(
        self,
        wanted: Sequence[tuple[str, int]],
        reads: Sequence[str],
        also: Callable[[Connection], bool] = lambda _: True,
        waiting: AbstractContextManager[None] = _UNCOUNTED,
    ) -> None:
        """Wait until the projections that the answer `reads` have applied these versions, and `also` holds. Raises `Problem`.

        What has to wait does so inside `waiting`.
        """
        if not wanted:
            return
        asked = [(name, stream, version) for stream, version in wanted for name in _concerned(stream, reads)]

        def there(connection: Connection) -> bool:
            while asked and version_applied(connection, *asked[-1], self._reader.shards):
                asked.pop()
            return not asked and also(connection)

        await self._until(there, waiting)

    async def positions(
        self, wanted: Sequence[Position], reads: Sequence[str], waiting: AbstractContextManager[None] = _UNCOUNTED
    ) -> None:
        """Wait until the projections have passed these positions; one the log has not come to yet is an error (400)."""
        if not wanted:
            return
        ends = await self._reader.ends(list({position.partition for position in wanted}))
        if any(position.offset >= ends[position.partition] for position in wanted):
            raise Problem("unknown_position", "the log has not come so far")
        offsets: dict[Partition, int] = {}
        for position in wanted:
            offsets[position.partition] = max(offsets.get(position.partition, 0), position.offset + 1)
        await self._until(lambda c: all(has_reached(c, name, offsets) for name in reads or MAIN.values()), waiting)

    async def log_end(self, kinds: Iterable[str], projections: Iterable[str] = ()) -> None:
        """Wait until these projections, or the main ones of these aggregate types, have seen everything of these types that the
        log held when this was called. Raises `Problem`.
        """
        chosen = list(kinds)
        names = list(projections) or [MAIN[kind] for kind in chosen]
        partitions = [Partition(EVENT_TOPIC[kind], shard) for kind in chosen for shard in range(self._reader.shards)]
        ends = await self._reader.ends(partitions)
        await self._until(lambda c: all(has_reached(c, name, ends) for name in names))

    async def reached(self, wanted: Mapping[str, Mapping[Partition, int]]) -> None:
        """Wait until each projection has read everything before its offsets. Raises `Problem`."""
        asked = {name: offsets for name, offsets in wanted.items() if offsets}
        if asked:
            await self._until(lambda connection: all(has_reached(connection, name, at) for name, at in asked.items()))

    async def _until(self, condition: Callable[[Connection], bool], waiting: AbstractContextManager[None] = _UNCOUNTED) -> None:
        if await self._models.ask(condition):
            return
        pause = _FIRST_PAUSE_S
        try:
            with waiting:
                async with asyncio.timeout(self._within_s), self._wakeups.listen(RECENT_CHANGES) as waiter:
                    while not await self._models.ask(condition):
                        await waiter.wait(pause)
                        pause = min(_LONGEST_PAUSE_S, pause * 2)
        except TimeoutError:
            raise Problem("projection_lag", f"not within {self._within_s:g} s") from None


def _concerned(stream: str, reads: Sequence[str]) -> list[str]:
    """The projections to wait for: those read that see the stream at all, or the one that shows it."""
    kind = kind_of(stream)
    return [name for name in reads if EVENT_TOPIC[kind] in BY_NAME[name].topics] or [MAIN[kind]]

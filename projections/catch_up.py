"""How does a projection that is behind, or is being built anew, get to where the others are?

On a feed of its own, a bounded batch a turn, until it stands exactly where the front stands; then it can join.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from projections.apply import Applier
from projections.continuity import Answers, Continuity, look_up
from projections.fact import Fact
from projections.persistence import Persistent
from projections.place import Place
from schemas.log import EventReader, Feed
from schemas.position import Partition

_BATCH = 1_000
_LONGEST_HELD = 5_000
_WAIT_S = 0.02


async def facts_of(feed: Feed, limit: int, within_s: float, continuity: Continuity, store: Persistent) -> list[Fact]:
    """The feed's next records, checked against those before them."""
    facts = [Fact(record) for record in await feed.read(limit, within_s)]
    questions = continuity.questions(facts)
    answers = await store.transact(partial(look_up, questions=questions)) if questions else Answers()
    continuity.check(facts, answers)
    return facts


class CatchUp:
    """One place on its way to the front. Facts beyond the front are held until the front has passed them."""

    def __init__(self, place: Place, feed: Feed, store: Persistent) -> None:
        self.place = place
        self._feed = feed
        self._store = store
        self._applier = Applier(store)
        self._continuity = Continuity()
        self._held: list[Fact] = []

    async def step(self, front: Mapping[Partition, int]) -> bool:
        """Go on by a batch; False if the place had to be stopped."""
        if len(self._held) < _LONGEST_HELD:
            self._held += await facts_of(self._feed, _BATCH, _WAIT_S, self._continuity, self._store)
        ready = [fact for fact in self._held if fact.position.offset < front[fact.position.partition]]
        after = {p: min(self._reached(p), front[p]) for p in self.place.positions}
        self._held = [fact for fact in self._held if fact.position.offset >= front[fact.position.partition]]
        if ready or after != self.place.positions:
            return not await self._applier.apply([self.place], ready, after)
        return True

    def has_arrived(self, front: Mapping[Partition, int]) -> bool:
        """Whether the place stands exactly where the front stands."""
        return all(offset == front[p] for p, offset in self.place.positions.items())

    async def close(self) -> None:
        """Give the feed back."""
        await self._feed.close()

    def _reached(self, partition: Partition) -> int:
        return max(self._feed.positions[partition], self.place.positions[partition])


async def set_out(place: Place, reader: EventReader, store: Persistent) -> CatchUp:
    """Begin to catch up from where the place stands."""
    return CatchUp(place, await reader.feed(place.positions), store)


def front_of(places: Sequence[Place], ends: Mapping[Partition, int]) -> dict[Partition, int]:
    """Where the foremost of `places` stand in each partition; at the log's end where none of them reads."""
    front = {}
    for partition, end in ends.items():
        offsets = [place.positions[partition] for place in places if place.reads(partition)]
        front[partition] = max(offsets, default=end)
    return front

"""What happens to the others when one projection cannot take an event? They go on; it stops before that event and says so.

Normally all places advance in one transaction. If anything is refused, each place takes the batch alone, and the one that still
fails takes it in ever smaller halves until the event at fault stands alone.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy.exc import StatementError

from projections.bookkeeping import set_status
from projections.fact import Fact
from projections.persistence import Persistent
from projections.place import Place, PositionsMoved, advance, have_arrived
from schemas.position import Partition

_LONGEST_REASON = 500


class Applier:
    """Moves places along, and stops those that cannot go on."""

    def __init__(self, store: Persistent) -> None:
        self._store = store

    async def apply(self, places: Sequence[Place], facts: Sequence[Fact], after: Mapping[Partition, int]) -> list[Place]:
        """Project `facts` and move `places` to `after`; those that had to be stopped. Raises `PositionsMoved`."""
        try:
            await self._move(places, facts, after)
        except PositionsMoved:
            raise
        except Exception:  # noqa: BLE001 - supervision: whatever one projection does must not stop the others
            return [place for place in places if not await self._alone(place, facts, after)]
        return []

    async def _move(self, places: Sequence[Place], facts: Sequence[Fact], after: Mapping[Partition, int]) -> None:
        try:
            await self._store.transact(partial(advance, places=places, facts=facts, after=after))
        except PositionsMoved:
            if not await self._store.transact(partial(have_arrived, places=places, after=after)):
                raise  # else it was done before, by a commit whose answer was lost
        for place in places:
            place.positions.update({p: offset for p, offset in after.items() if place.reads(p)})

    async def _alone(self, place: Place, facts: Sequence[Fact], after: Mapping[Partition, int]) -> bool:
        own = [fact for fact in facts if place.reads(fact.position.partition)]
        try:
            await self._move([place], own, after)
        except PositionsMoved:
            raise
        except Exception as error:  # supervision: the same
            if not own:
                raise
            if len(own) == 1:
                await self._stop(place, own[0], error)
                return False
        else:
            return True
        half = len(own) // 2
        between = {fact.position.partition: fact.position.offset + 1 for fact in own[:half]}
        return await self._alone(place, own[:half], between) and await self._alone(place, own[half:], after)

    async def _stop(self, place: Place, fact: Fact, error: Exception) -> None:
        reason = f"{fact.position}: {_what(fact)}: {reason_of(error)}"
        said = _stopped(place, str(fact.position), reason)
        await self._store.transact(partial(set_status, projection=place.projection.name, values=said))


def _stopped(place: Place, position: str, reason: str) -> dict[str, str]:
    if place.name != place.projection.name:
        return {"error": f"the rebuild was given up at {reason}"}
    return {"state": "stopped", "stopped_at": position, "error": reason}


def _what(fact: Fact) -> str:
    body = fact.body
    kind = getattr(body, "type", type(body).__name__)
    return f"{kind} of {fact.stream}" if fact.stream else str(kind)


def reason_of(error: BaseException) -> str:
    """What an error says, in one bounded line without the values of a statement."""
    cause = error.__cause__ or error
    said = str(getattr(cause, "orig", cause) if isinstance(cause, StatementError) else cause)
    return " ".join(f"{type(cause).__name__}: {said}".split())[:_LONGEST_REASON].replace("\x00", "\ufffd")

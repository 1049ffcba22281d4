"""Which of the owned shards are not served yet, or cannot be, and why?

Each is recovered beside the work of the others, a few at a time. One that cannot be recovered stays unserved: nothing of it is
decided and no command of it consumed, its owner goes on with the others, and it is tried again from time to time until its tenure
ends, so that what heals is served without a restart.
"""

import logging
from asyncio import FIRST_COMPLETED, Event, Task, create_task, wait
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from operator import itemgetter

from commands.counters import Counters
from commands.recovery import Recovery, RecoveryFailed, recover
from commands.shard_state import ShardState
from commands.state_store import StateStore, StateStoreFailed, StateStoreLost, StateStores
from schemas.log import EventReader, LogUnavailable
from schemas.unserved import UnservedShard

_log = logging.getLogger(__name__)

UNREADABLE_AGAIN_S = 1.0
"""After which time a shard of which the log could not be read is tried again; others come first meanwhile."""
ENDS_WITHIN_S = 60.0
"""So long recoveries may take to end once they were told to."""


class RecoveryHangs(Exception):
    """A recovery that was told to end does not: another one of its shard must not begin in this process."""


@dataclass(slots=True)
class Owned:
    """A shard that may be served."""

    tenure: int
    store: StateStore
    state: ShardState


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long one recovery may take, after how long it is tried again, in seconds; how many run at once; how many may fail in a
    row for want of a store; how many streams a shard keeps in memory.
    """

    within_s: float
    again_s: float
    at_once: int
    without_store: int
    cached_streams: int


@dataclass(slots=True)
class _Coming:
    """A shard to be recovered: `due` is when next, `since` when it was first tried, `began` when last, in `monotonic` seconds."""

    tenure: int
    since: float
    due: float
    stop: Event
    began: float = 0
    attempt: Task[Owned | None] | None = None
    failure: RecoveryFailed | None = None


class TakingOver:
    """The shards that are owned and not served."""

    def __init__(
        self, reader: EventReader, stores: StateStores, monotonic: Callable[[], float], pace: Pace, counters: Counters
    ) -> None:
        self._reader, self._stores, self._monotonic = reader, stores, monotonic
        self._pace, self._counters = pace, counters
        self._coming: dict[int, _Coming] = {}
        self._without_store: Counter[int] = Counter()

    @property
    def shards(self) -> Set[int]:
        """All of them."""
        return frozenset(self._coming)

    @property
    def unserved(self) -> Sequence[UnservedShard]:
        """Those that could not be recovered when it was tried last, or whose recovery does not end in its time."""
        by_shard = sorted(self._coming.items(), key=itemgetter(0))
        failed = [(shard, one.failure or self._hanging(one)) for shard, one in by_shard]
        return [UnservedShard(shard, failure.reason, failure.at) for shard, failure in failed if failure is not None]

    def _hanging(self, one: _Coming) -> RecoveryFailed | None:
        hangs = one.attempt is not None and self._monotonic() - one.began > 2 * self._pace.within_s
        return RecoveryFailed("not_read_in_time", "the recovery does not end", None) if hangs else None

    @property
    def is_at_work(self) -> bool:
        """Whether any is being recovered now."""
        return any(one.attempt is not None for one in self._coming.values())

    async def follow(self, tenures: Mapping[int, int]) -> None:
        """These are owned and not served: forget all others, and begin with those whose time it is."""
        await self._forget([shard for shard, one in self._coming.items() if tenures.get(shard) != one.tenure])
        now = self._monotonic()
        for shard, tenure in tenures.items():
            self._coming.setdefault(shard, _Coming(tenure, now, now, Event()))
        at_work = sum(one.attempt is not None and not self._hanging(one) for one in self._coming.values())
        idle = sorted((one.due, shard) for shard, one in self._coming.items() if one.attempt is None and one.due <= now)
        for _, shard in idle[: max(0, self._pace.at_once - at_work)]:
            one = self._coming[shard]
            one.began, one.attempt = now, create_task(self._recovered(shard, one))

    async def wait(self, within_s: float) -> None:
        """Until one of the recoveries that are under way ends, at most so long."""
        if attempts := [one.attempt for one in self._coming.values() if one.attempt is not None]:
            await wait(attempts, timeout=within_s, return_when=FIRST_COMPLETED)

    def arrived(self) -> Mapping[int, Owned]:
        """What is to be served from now on.

        Raises what ended a recovery and is no matter of its shard alone: `StateStoreFailed`, `StateStoreLost`, whatever should
        not be. What has arrived besides is told by the next call.
        """
        for shard, one in self._coming.items():
            if one.attempt is not None and one.attempt.done():
                self._note_failure(shard, one, one.attempt)
        found = {
            shard: owned
            for shard, one in self._coming.items()
            if one.attempt is not None and one.attempt.done() and (owned := one.attempt.result()) is not None
        }
        for shard in found:
            if self._coming.pop(shard).failure is not None:
                _log.warning("shard %s is served again", shard)
            del self._without_store[shard]
        return found

    async def forget_all(self) -> None:
        """No shard is owned any more."""
        await self._forget(list(self._coming))

    async def _forget(self, shards: Sequence[int]) -> None:
        """Recoveries that are under way are asked to end, not cancelled: what their stores' thread is at would outlive them.

        Raises `RecoveryHangs`.
        """
        going = [self._coming[shard] for shard in shards]
        for one in going:
            one.stop.set()
        attempts = [one.attempt for one in going if one.attempt is not None]
        ended, hanging = await wait(attempts, timeout=ENDS_WITHIN_S) if attempts else (set(), set())
        for shard in shards:  # not before: whoever is cancelled while he waits calls this once more
            del self._coming[shard]
        for attempt in ended:
            if attempt.exception() is None and (owned := attempt.result()) is not None:
                await owned.store.close()
        if hanging:
            raise RecoveryHangs(f"{len(hanging)} recoveries did not end within {ENDS_WITHIN_S:g} s of being told to")

    async def _recovered(self, shard: int, one: _Coming) -> Owned | None:
        store = await self._stores.open(shard)
        try:
            deadline = self._monotonic() + self._pace.within_s
            work = Recovery(self._reader, self._counters, self._monotonic, deadline, one.stop, self._pace.cached_streams)
            state = await recover(shard, store, work)
        except StateStoreFailed:
            try:
                await store.discard()
            finally:
                await store.close()
            raise
        except BaseException:
            await store.close()
            raise
        if state is None:
            await store.close()
            return None
        return Owned(one.tenure, store, state)

    def _note_failure(self, shard: int, one: _Coming, ended: Task[Owned | None]) -> None:
        failure = ended.exception()
        if failure is None:
            return
        one.attempt = None
        now = self._monotonic()
        if isinstance(failure, LogUnavailable):
            if one.failure is None and now - one.since <= self._pace.within_s:
                _log.warning("the log cannot be read yet: %s", failure)
                self._counters.unavailable += 1
                one.due = now + UNREADABLE_AGAIN_S
                return
            failure = one.failure or RecoveryFailed("log_unavailable", str(failure), None)
        if isinstance(failure, RecoveryFailed):
            one.due = now + self._pace.again_s
            self._tell(shard, one.failure, failure)
            one.failure = failure
            return
        if isinstance(failure, StateStoreFailed):
            self._without_store[shard] += 1
            if self._without_store[shard] >= self._pace.without_store:
                lost = f"shard {shard} was not recovered {self._without_store[shard]} times in a row: {failure}"
                raise StateStoreLost(lost) from failure
        raise failure

    def _tell(self, shard: int, before: RecoveryFailed | None, failure: RecoveryFailed) -> None:
        if before is None or (before.reason, before.at) != (failure.reason, failure.at):
            _log.error(
                "shard %s is unserved, its commands wait (%s; see serve-a-shard-again): %s", shard, failure.reason, failure
            )

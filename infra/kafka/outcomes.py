"""What became of a command? Answered from the recent end of the topic `outcomes`, which one thread follows."""

import asyncio
import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from uuid import UUID

from infra.kafka.consuming import AssignedConsumer, Offsets
from infra.kafka.settings import KafkaLogSettings
from schemas.log import LogError, LogUnavailable
from schemas.outcome import Outcome
from schemas.position import Partition
from schemas.topics import OUTCOMES

_LOG = logging.getLogger(__name__)
_BATCH = 1000
_POLL_S = 0.1
_CAUGHT_UP_S = 10.0
_FIND_S = 1.0
_AGAIN_S = 0.5


class KafkaOutcomes:
    """Remembers the last `remembered_outcomes` outcomes of all shards together, and wakes who waits for one.

    The first outcome of a command id counts; a later one only repeats it. Runs on the loop it was made on. It begins to follow
    when it is asked for the first time: an owner's process, say, never asks.
    """

    def __init__(self, settings: KafkaLogSettings, offsets: Offsets) -> None:
        self._settings = settings
        self._offsets = offsets
        self._loop = asyncio.get_running_loop()
        self._partitions = [Partition(OUTCOMES, shard) for shard in range(settings.partitions)]
        self._known: OrderedDict[UUID, Outcome] = OrderedDict()
        self._waiters: dict[UUID, set[asyncio.Future[Outcome]]] = {}
        self._positions: dict[Partition, int] = {}
        self._moved = asyncio.Event()
        self._beginning: asyncio.Task[None] | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="kafka-outcomes", daemon=True)

    async def wait(self, command_id: UUID, within_s: float) -> Outcome | None:
        """The outcome as soon as it is known, or None after `within_s` seconds. Raises `LogUnavailable`."""
        if known := self._known.get(command_id):
            return known
        waiter: asyncio.Future[Outcome] = self._loop.create_future()
        waiters = self._waiters.setdefault(command_id, set())
        waiters.add(waiter)
        try:
            async with asyncio.timeout(within_s):
                await self._begun()
                return await waiter
        except TimeoutError:
            return None
        finally:
            waiters.discard(waiter)
            if not waiters and self._waiters.get(command_id) is waiters:
                del self._waiters[command_id]

    async def find(self, command_id: UUID) -> Outcome | None:
        """The outcome if it is among the remembered ones; what was decided before the call is seen, within a bound.

        Raises `LogUnavailable`.
        """
        if command_id not in self._known:
            await self._begun()
            with contextlib.suppress(LogUnavailable):
                await self._reached(await asyncio.to_thread(self._offsets.ends, self._partitions), _FIND_S)
        return self._known.get(command_id)

    async def close(self) -> None:
        """Stop following."""
        self._closing.set()
        if self._beginning is not None:
            await asyncio.gather(self._beginning, return_exceptions=True)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    async def _begun(self) -> None:
        """Follow from now on; whoever comes while the window is read waits for it too. Raises `LogUnavailable`."""
        if self._closing.is_set():
            raise LogUnavailable("closed")
        if self._beginning is None or (self._beginning.done() and self._beginning.exception()):
            self._beginning = asyncio.create_task(self._begin())
        await asyncio.shield(self._beginning)

    async def _begin(self) -> None:
        """Read the window; return when its end as of now has been reached."""
        ends = await asyncio.to_thread(self._offsets.ends, self._partitions)
        share = self._settings.remembered_outcomes // self._settings.partitions
        start = {p: max(0, end - share) for p, end in ends.items()}
        self._consumer = await asyncio.to_thread(AssignedConsumer, self._settings, self._offsets, start)
        self._positions = self._consumer.positions
        self._thread.start()
        if not await self._reached(ends, _CAUGHT_UP_S):
            _LOG.warning("outcomes up to %s are not all decided yet", ends)

    async def _reached(self, ends: dict[Partition, int], within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                while any(self._positions.get(p, 0) < end for p, end in ends.items()):
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True

    def _follow(self) -> None:
        before: dict[Partition, int] = {}
        while not self._closing.is_set():
            try:
                read = self._consumer.read(_BATCH, _POLL_S)
            except LogError:
                _LOG.exception("outcomes cannot be read")
                self._closing.wait(_AGAIN_S)
                continue
            positions = self._consumer.positions
            if positions != before and not self._loop.is_closed():
                bodies = [r.body for r in read if isinstance(r.body, Outcome)]
                self._loop.call_soon_threadsafe(self._learn, bodies, positions)
                before = positions
        self._consumer.close()

    def _learn(self, outcomes: Sequence[Outcome], positions: dict[Partition, int]) -> None:
        self._positions = positions
        for outcome in outcomes:
            first = self._known.setdefault(outcome.command_id, outcome)
            for waiter in self._waiters.pop(outcome.command_id, ()):
                if not waiter.done():
                    waiter.set_result(first)
        while len(self._known) > self._settings.remembered_outcomes:
            self._known.popitem(last=False)
        self._moved.set()
        self._moved = asyncio.Event()

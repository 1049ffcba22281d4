"""How are events, outcomes and finite records read?"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from infra.kafka.consuming import AssignedConsumer, Offsets
from infra.kafka.settings import KafkaLogSettings
from schemas.log import LogError, LogTruncated, Recorded
from schemas.position import Partition


class KafkaFeed:
    """A reader's place: a consumer with a thread of its own.

    A read that is cancelled loses nothing: what its thread had fetched is handed out by the next.
    """

    def __init__(self, settings: KafkaLogSettings, offsets: Offsets, start: Mapping[Partition, int]) -> None:
        self._settings = settings
        self._offsets = offsets
        self._positions = dict(start)
        self._fetched: deque[Recorded] = deque()
        self._after: Mapping[Partition, int] = {}
        self._consumer: AssignedConsumer | None = None
        self._outside: LogTruncated | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-feed")

    @property
    def positions(self) -> Mapping[Partition, int]:
        """The next offset to read in each partition; it also passes records that are not for readers."""
        return dict(self._positions)

    async def begin(self) -> None:
        """Take the place. Raises `LogUnavailable`; a start outside what the log holds is told by the first read."""
        try:
            await self._in_thread(self._begin)
        except LogError:
            await self.close()
            raise

    async def read(self, limit: int, within_s: float) -> Sequence[Recorded]:
        """Up to `limit` next records as soon as there is one, or none after `within_s` seconds. Raises `LogTruncated`."""
        await self._in_thread(self._fetch, limit, within_s)
        found = [self._fetched.popleft() for _ in range(min(limit, len(self._fetched)))]
        self._positions.update({r.position.partition: r.position.offset + 1 for r in found})
        if not self._fetched:
            self._positions.update(self._after)
        return found

    async def close(self) -> None:
        """Release the consumer; a read under way ends first."""
        await self._in_thread(self._close)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: object, *given: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)  # type: ignore[arg-type]

    def _begin(self) -> None:
        try:
            self._consumer = AssignedConsumer(self._settings, self._offsets, self._positions)
            self._positions.update(self._consumer.positions)
        except LogTruncated as outside:
            self._outside = outside

    def _fetch(self, limit: int, within_s: float) -> None:
        if self._outside or self._consumer is None:
            raise self._outside or LogTruncated("closed")
        if self._fetched:
            return  # a cancelled read has left something
        try:
            self._fetched.extend(self._consumer.read(limit, within_s))
        except LogTruncated as outside:
            self._outside = outside
            raise
        self._after = self._consumer.positions

    def _close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


class KafkaReader:
    """Reads what is committed."""

    def __init__(self, settings: KafkaLogSettings, offsets: Offsets) -> None:
        self._settings = settings
        self._offsets = offsets

    @property
    def shards(self) -> int:
        """The number of shards of this log, fixed when it was created."""
        return self._settings.partitions

    async def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """The high watermark of each partition, read uncommitted (HAZARDS D2). Raises `LogUnavailable`."""
        return await asyncio.to_thread(self._offsets.ends, partitions)

    async def feed(self, start: Mapping[Partition, int]) -> KafkaFeed:
        """A feed from these offsets, read committed; a finite topic's begins at its low end at the earliest."""
        feed = KafkaFeed(self._settings, self._offsets, start)
        await feed.begin()
        return feed

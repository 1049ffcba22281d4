"""Does a transaction that nobody decides hold up the readers of a partition? (HAZARDS R16)

Readers of what is committed see nothing behind the first record of an undecided transaction. A partition whose end for them
stands still while it holds more has been waiting for one. Nothing can be done about it from here: docs/how-to/run-a-cluster.md.
"""

import asyncio
import logging
import time

from confluent_kafka import KafkaException

from infra.kafka.consuming import Offsets
from infra.kafka.settings import KafkaLogSettings
from schemas.log import LogUnavailable
from schemas.position import Partition
from schemas.topics import EVENT_TOPICS, OUTCOMES

_LOG = logging.getLogger(__name__)
LOOK_EVERY_S = 10.0


class Undecided:
    """How long readers have waited, as far as looks at the brokers tell. An error is logged once a wait that is too long."""

    def __init__(self, settings: KafkaLogSettings) -> None:
        self._offsets = Offsets(settings)
        self._partitions = [Partition(t, shard) for t in (*EVENT_TOPICS, OUTCOMES) for shard in range(settings.partitions)]
        self._too_long_s = 2 * settings.transaction_s
        self._waiting: dict[Partition, tuple[int, float]] = {}
        self._told: set[Partition] = set()
        self._looked_at = 0.0
        self.trouble: str | None = None
        """Why the last look told nothing, or None."""

    @property
    def longest_s(self) -> float:
        """Seconds, up to the last look, for which the partition that has waited longest has done so; 0 where none waits."""
        return max((self._looked_at - since for _, since in self._waiting.values()), default=0.0)

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.look, time.monotonic())
                self.trouble = None
            except (LogUnavailable, KafkaException) as unavailable:
                self.trouble = f"the log cannot be read: {unavailable}"
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self, now: float) -> None:
        """Ask the brokers; `now` is in monotonic seconds. Raises `LogUnavailable`."""
        decided = self._offsets.decided_ends(self._partitions)  # asked first: what ends in between looks decided too late, once
        if not decided:
            raise LogUnavailable("no broker says where what is committed ends")
        ends = self._offsets.ends(list(decided))
        self._waiting = {p: self._since(p, at, now) for p, at in decided.items() if at < ends[p]}
        self._looked_at = now
        self._tell()

    def _since(self, partition: Partition, decided: int, now: float) -> tuple[int, float]:
        before = self._waiting.get(partition)
        return before if before is not None and before[0] == decided else (decided, now)

    def _tell(self) -> None:
        too_long = {p for p, (_, since) in self._waiting.items() if self._looked_at - since > self._too_long_s}
        for partition in too_long - self._told:
            offset, since = self._waiting[partition]
            _LOG.error(
                "readers of %s/%s have waited at %s for %.0f s: a transaction is undecided (see run-a-cluster)",
                *partition,
                offset,
                self._looked_at - since,
            )
        self._told = too_long

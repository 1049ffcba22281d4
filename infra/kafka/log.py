"""The whole log on Kafka: all ports of one opened log."""

import asyncio
from dataclasses import replace
from typing import Self

from infra.kafka.consuming import Offsets
from infra.kafka.outcomes import KafkaOutcomes
from infra.kafka.owned_shards import KafkaOwnedShards
from infra.kafka.producing import PlainProducer
from infra.kafka.reader import KafkaReader
from infra.kafka.records import KafkaRecords
from infra.kafka.sender import KafkaSender
from infra.kafka.settings import KafkaLogSettings
from infra.kafka.topics import TopicsDiffer, differences


class KafkaLog:
    """An opened log; made by `KafkaLog.open`. Its ports run on the event loop it was opened on."""

    def __init__(self, settings: KafkaLogSettings) -> None:
        self.settings = settings
        self._offsets = Offsets(settings)
        self._producer = PlainProducer(settings)
        self.sender = KafkaSender(self._producer, settings.partitions)
        self.records = KafkaRecords(self._producer)
        self.outcomes = KafkaOutcomes(settings, self._offsets)
        self.reader = KafkaReader(settings, self._offsets)

    @classmethod
    async def open(cls, settings: KafkaLogSettings) -> Self:
        """Open the log. Raises `TopicsDiffer` with the list when its topics are not as they should be, `LogUnavailable`."""
        if different := await asyncio.to_thread(differences, settings):
            raise TopicsDiffer(different)
        return cls(settings)

    def owned_shards(self, instance: str | None = None) -> KafkaOwnedShards:
        """A new member of the owners' group, under the settings' instance name unless another is given."""
        return KafkaOwnedShards(replace(self.settings, instance=instance or self.settings.instance), self._offsets)

    async def close(self) -> None:
        """Send what waits and stop. Members are closed by whoever opened them."""
        await self.outcomes.close()
        await self._producer.close()

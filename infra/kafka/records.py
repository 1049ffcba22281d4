"""How do run output and heartbeats get into the log?"""

from collections.abc import Sequence

from infra.kafka.producing import PlainProducer
from schemas.heartbeat import Heartbeat
from schemas.position import Partition
from schemas.run_output import OutputChunk
from schemas.wire import encode_finite


class KafkaRecords:
    """Publishes finite records that are no events."""

    def __init__(self, producer: PlainProducer) -> None:
        self._producer = producer

    async def publish(self, partition: Partition, records: Sequence[OutputChunk | Heartbeat]) -> int:
        """Append in order and durably; the offset after the last. Raises `LogUnavailable`, `ResultUnknown`, `RecordTooLarge`."""
        return await self._producer.put(partition, [encode_finite(record) for record in records])

"""Does a reader go on whose client has stopped fetching one partition, as was seen after a broker had stood still?"""

import asyncio
import time

import pytest
from confluent_kafka import Producer, TopicPartition

from infra.kafka import consuming
from infra.kafka.consuming import AssignedConsumer, Offsets
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.topics import OUTCOMES
from tests.contracts.records import command
from tests.contracts.working import commit_all, take_some

pytestmark = [pytest.mark.services, pytest.mark.slow]


async def decided(log_on_kafka, log, owner):
    """A command of one stream and its outcome in the log; the outcome's partition."""
    sent = command(1)
    await log.sender.send(sent)
    await commit_all(owner, await take_some(log_on_kafka, owner))
    return sent.command_id, Partition(OUTCOMES, shard_of(sent.stream, log_on_kafka.settings.partitions))


def abort_one(settings, partition):
    """An aborted transaction at the partition's end: the brokers hold more there than anybody is handed out."""
    producer = Producer({"bootstrap.servers": settings.bootstrap, "transactional.id": f"{settings.prefix}-aborts"})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(settings.topic(partition.topic), b"never seen", b"k", partition.shard)
    assert producer.flush(10) == 0
    producer.abort_transaction(10)


def read_for(reader, within_s, count):
    """The ids of the outcomes that were read until there were so many, or the time was over."""
    seen, deadline = [], time.monotonic() + within_s
    while len(seen) < count and time.monotonic() < deadline:
        seen += [record.body.command_id for record in reader.read(100, 0.1)]
    return seen


async def test_another_client_goes_on_where_one_stands_still_and_nothing_is_read_twice(log_on_kafka, monkeypatch):
    monkeypatch.setattr(consuming, "_LOOKED_AT_EVERY_S", 0.3)
    log = await log_on_kafka.open()
    owner = log.owned_shards("one")
    first, partition = await decided(log_on_kafka, log, owner)
    await asyncio.to_thread(abort_one, log_on_kafka.settings, partition)
    reader = await asyncio.to_thread(AssignedConsumer, log_on_kafka.settings, Offsets(log_on_kafka.settings), {partition: 0})
    assert await asyncio.to_thread(read_for, reader, 20, 1) == [first]
    client = reader._consumer
    assert await asyncio.to_thread(read_for, reader, 2, 1) == []
    assert reader._consumer is client, "a reader that has read all there is keeps its client, also where the end was aborted"
    client.pause([TopicPartition(log_on_kafka.settings.topic(partition.topic), partition.shard)])
    more = [(await decided(log_on_kafka, log, owner))[0] for _ in range(3)]
    assert await asyncio.to_thread(read_for, reader, 20, 3) == more
    assert reader._consumer is not client
    await asyncio.to_thread(reader.close)

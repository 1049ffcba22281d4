"""What is told while the broker is away, and does everything go on when it is back?"""

import asyncio
import time

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.deploy.services.kafka import KafkaNode
from infra.deploy.services.kafka_jars import kafka_jars
from infra.deploy.services.native_process import ServiceUnavailable
from infra.deploy.services.together import services_folder
from infra.kafka.settings import lane_consumer
from schemas.log import LogUnavailable, ResultUnknown
from tests.contracts.kafka_harness import KafkaHarness, kafka_settings
from tests.contracts.records import command, outcome
from tests.contracts.working import commit_all, read_to_end, take_some
from tests.support.eventually import eventually_async
from tests.support.services import missing, scratch_folder

pytestmark = [pytest.mark.services, pytest.mark.slow]


@pytest.fixture
def broker():
    """A broker of this test's own."""
    try:
        jars = kafka_jars(services_folder())
    except ServiceUnavailable as absent:
        missing("kafka", absent)
    with scratch_folder() as folder, KafkaNode(home=folder, jars=jars) as node:
        yield node


@pytest.fixture
async def harness(broker):
    made = KafkaHarness(kafka_settings(broker.address, call_s=1.5, send_s=2, max_poll_s=60))
    yield made
    await made.close()


async def test_senders_hear_at_once_that_nothing_was_written_and_all_goes_on_after_the_broker_is_back(harness, broker):
    log = await harness.open()
    owner = log.owned_shards("one")
    before, after = command(1), command(2)
    await log.sender.send(before)
    await commit_all(owner, await take_some(harness, owner))
    await eventually_async(lambda: asyncio.to_thread(all_markers_written, harness.settings), within=20)
    await asyncio.to_thread(broker.kill9)
    await refused_three_times(log)
    assert not (await owner.take(10, 0.2)).commands
    await asyncio.to_thread(broker.start)
    await sent(log, after)
    harness.patience_s = 60
    seen = set()
    while after.command_id not in seen:
        taken = await take_some(harness, owner)
        await commit_all(owner, taken)
        seen |= {c.body.command_id for c in taken.commands}
    assert await log.outcomes.wait(after.command_id, 20) == outcome(after)
    told = [r.body.command_id for r in await read_to_end(harness, log, "targets")]
    assert told.count(before.command_id) == told.count(after.command_id) == 1


def all_markers_written(settings):
    """So that the crash meets no transaction whose end is still to be written down; that is what `make jepsen` is for."""
    consumer = Consumer(lane_consumer(settings))
    try:
        lanes = [TopicPartition(settings.topic("commands.people"), shard) for shard in range(settings.partitions)]
        return any(place.offset >= 0 for place in consumer.committed(lanes, timeout=2))
    except KafkaException:
        return False
    finally:
        consumer.close()


async def refused_three_times(log):
    """Only what was under way when the broker went may be in doubt."""
    refused = 0
    deadline = time.monotonic() + 20
    while refused < 3:
        began = time.monotonic()
        try:
            await log.sender.send(command(3))
        except LogUnavailable:
            refused += 1
            assert time.monotonic() - began < 2
        except ResultUnknown:
            assert time.monotonic() < deadline


async def sent(log, one):
    """Sent as soon as the log takes it again."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return await log.sender.send(one)
        except LogUnavailable:
            assert time.monotonic() < deadline

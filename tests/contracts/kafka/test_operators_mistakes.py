"""What if somebody deletes with Kafka's own tools what the log rests on? Nothing is done again, and nothing is passed over."""

import asyncio

import pytest
from confluent_kafka.admin import AdminClient

from infra.kafka.topics import apply
from infra.memory.state_store import MemoryStateStores
from schemas.log import LogTruncated
from tests.commands.owning import running, sound_events, told
from tests.contracts.harness import from_start
from tests.contracts.records import command
from tests.contracts.working import commit_all, read_to_end, take_all
from tests.support.builders import register_target, retitle_target
from tests.support.eventually import eventually_async

pytestmark = pytest.mark.services


@pytest.fixture
def admin(kafka):
    return AdminClient({"bootstrap.servers": kafka})


async def test_without_its_group_an_owner_is_handed_every_command_again_and_decides_none_of_them_again(log_on_kafka, admin):
    log = await log_on_kafka.open()
    commands = [register_target(f"t-{n}") for n in range(20)]
    async with running(log, MemoryStateStores()):
        first = await told(log, *commands)
    group = log_on_kafka.settings.group
    await eventually_async(lambda: asyncio.to_thread(deleted, admin, group), within=20)
    async with running(log, MemoryStateStores()) as owner:
        await told(log, *[retitle_target(f"t-{n}", expected_version=1) for n in range(20)], within=40)
    assert owner.counters.duplicates == 20
    assert [await log.outcomes.find(one.command_id) for one in commands] == first
    assert len(await sound_events(log)) == 40


def deleted(admin, group):
    for future in admin.delete_consumer_groups([group], request_timeout=5).values():
        try:
            future.result(6)
        except Exception as refused:  # a member may not have left yet
            raise AssertionError(str(refused)) from refused


def made_again(settings):
    try:
        return apply(settings)
    except Exception as refused:  # the old one may not be gone yet
        raise AssertionError(str(refused)) from refused


async def test_a_topic_that_was_deleted_and_made_again_stops_who_reads_it_and_who_begins_where_it_had_been(log_on_kafka, admin):
    log = await log_on_kafka.open()
    owner = log.owned_shards("one")
    causes = [command(0) for _ in range(6)]
    for cause in causes:
        await log.sender.send(cause)
    await commit_all(owner, await take_all(log_on_kafka, owner, len(causes)))
    await owner.close()
    (partition,) = {r.position.partition for r in await read_to_end(log_on_kafka, log, "targets")}
    reading = await log.reader.feed(from_start("targets", log_on_kafka.shards))
    ends = await log.reader.ends(list(from_start("targets", log_on_kafka.shards)))
    while any(reading.positions[place] < end for place, end in ends.items()):
        await reading.read(100, 0.2)
    for future in admin.delete_topics([log_on_kafka.settings.topic("targets")]).values():
        await asyncio.to_thread(future.result, 10)
    await eventually_async(lambda: asyncio.to_thread(made_again, log_on_kafka.settings), within=20)
    with pytest.raises(LogTruncated):
        await (await log.reader.feed({partition: ends[partition]})).read(1, log_on_kafka.glance_s)

    async def reads_on():
        with pytest.raises(LogTruncated):
            await reading.read(1, 0.2)

    await eventually_async(reads_on, within=20)

"""What does a broker without room acknowledge? Nothing; and everything goes on when it has some, and is started again."""

import asyncio
import os
from functools import partial

import pytest

from infra.deploy.services.kafka import KafkaNode
from infra.deploy.services.kafka_jars import kafka_jars
from infra.deploy.services.native_process import ServiceUnavailable
from infra.deploy.services.together import services_folder
from tests.commands.owning import sound_events
from tests.contracts.kafka.owner_process import supervised
from tests.contracts.kafka.writing import Writing
from tests.contracts.kafka_harness import KafkaHarness, kafka_settings
from tests.roles.test_disk_full import may_mount, tmpfs
from tests.support.eventually import eventually_async
from tests.support.services import missing

pytestmark = [pytest.mark.services, pytest.mark.faults]

LEFT_BYTES = 64 * 1024
PATIENCE_S = 90.0


@pytest.fixture
def broker():
    """A broker with a file system of its own, where nothing else can take the room."""
    if not may_mount():
        missing("file system", "this account may not mount one")
    try:
        jars = kafka_jars(services_folder())
    except ServiceUnavailable as absent:
        missing("kafka", absent)
    with tmpfs() as folder, KafkaNode(home=folder, jars=jars) as node:
        yield node


@pytest.mark.timeout(600)
async def test_a_broker_without_room_acknowledges_nothing_and_all_goes_on_when_it_is_started_with_some(broker):
    harness = KafkaHarness(kafka_settings(broker.address))
    log = await harness.open()
    ballast = broker.home / "ballast"
    async with supervised(harness.settings):
        writing = Writing(log)
        await writing.goes_on(PATIENCE_S)
        room = os.statvfs(broker.home)
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - LEFT_BYTES)

        async def ended():
            return broker._process.poll() is not None

        await eventually_async(ended, within=PATIENCE_S)
        before = len(writing.told)
        await eventually_async(partial(writing.is_refused, writing.refused + 3), within=PATIENCE_S)
        assert len(writing.told) == before
        ballast.unlink()
        await asyncio.to_thread(broker.start)
        await writing.goes_on(PATIENCE_S)
        await writing.end()
        there = {event.command_id for event in await sound_events(log)}
    assert set(writing.told) <= there, "something acknowledged is lost"
    await harness.close()

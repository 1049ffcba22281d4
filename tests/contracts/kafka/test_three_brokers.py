"""What holds while one of three brokers, or two of them, are dead? All topics three times, two in step."""

import asyncio
import time
from functools import partial

import pytest

from infra.deploy.services.kafka import kafka_cluster
from infra.deploy.services.kafka_jars import kafka_jars
from infra.deploy.services.native_process import ServiceUnavailable
from infra.deploy.services.together import services_folder
from infra.kafka.topics import differences
from infra.memory.state_store import MemoryStateStores
from schemas.log import LogUnavailable, ResultUnknown
from tests.commands.owning import running, sound_events
from tests.contracts.kafka_harness import KafkaHarness, kafka_settings
from tests.support.builders import register_target
from tests.support.eventually import eventually_async
from tests.support.services import missing, scratch_folder

pytestmark = [pytest.mark.services, pytest.mark.faults]

PATIENCE_S = 90.0


@pytest.fixture
def cluster():
    try:
        jars = kafka_jars(services_folder())
    except ServiceUnavailable as absent:
        missing("kafka", absent)
    with scratch_folder() as folder, kafka_cluster(folder, jars, 3) as brokers:
        yield brokers


class Writing:
    """A client that registers one target after the other, each until it hears what became of it."""

    def __init__(self, log):
        self._log = log
        self._stop = False
        self.told, self.refused, self.longest_pause_s = [], 0, 0.0
        self._task = asyncio.create_task(self._write())

    async def _write(self):
        told_at = time.monotonic()
        while not self._stop:
            command = register_target(f"t-{len(self.told)}")
            while not await self._said(command):
                self.refused += 1
            self.longest_pause_s = max(self.longest_pause_s, time.monotonic() - told_at)
            told_at = time.monotonic()
            self.told.append(command.command_id)

    async def _said(self, command):
        try:
            await self._log.sender.send(command)
            return await self._log.outcomes.wait(command.command_id, 5)
        except (LogUnavailable, ResultUnknown):
            await asyncio.sleep(0.1)

    async def goes_on(self, within_s):
        enough = len(self.told) + 5

        async def further():
            return len(self.told) >= enough

        await eventually_async(further, within=within_s)

    async def end(self):
        self._stop = True
        await self._task


@pytest.mark.timeout(900)
async def test_one_may_die_and_with_two_dead_nothing_is_acknowledged_until_they_are_back(cluster):
    harness = KafkaHarness(kafka_settings(cluster.address, replication=3))
    log = await harness.open()
    async with running(log, MemoryStateStores()):
        writing = Writing(log)
        await writing.goes_on(PATIENCE_S)
        first, second, _ = cluster.nodes
        await asyncio.to_thread(first.kill9)
        await writing.goes_on(PATIENCE_S)
        await asyncio.to_thread(second.kill9)
        await eventually_async(partial(refused, writing, writing.refused + 2), within=PATIENCE_S)
        before = len(writing.told)
        await eventually_async(partial(refused, writing, writing.refused + 3), within=PATIENCE_S)
        assert len(writing.told) == before, "acknowledged by one broker alone"
        with pytest.raises(LogUnavailable):
            await asyncio.to_thread(differences, harness.settings)
        first.launch()
        second.launch()
        await writing.goes_on(2 * PATIENCE_S)
        await writing.end()
        print(f"{len(writing.told)} told, refused {writing.refused} times, longest pause {writing.longest_pause_s:.1f} s")
        there = {event.command_id for event in await sound_events(log)}
    assert set(writing.told) <= there, "something acknowledged is lost"
    await harness.close()


async def refused(writing, times):
    return writing.refused >= times

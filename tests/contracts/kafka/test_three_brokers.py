"""What holds while one of three brokers, or two of them, are dead? All topics three times, two in step."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from infra.kafka.topics import apply
from schemas.log import LogUnavailable
from tests.commands.owning import sound_events
from tests.contracts.kafka.owner_process import supervised
from tests.contracts.kafka.writing import Writing
from tests.contracts.kafka_harness import KafkaHarness, kafka_settings
from tests.support.eventually import eventually_async

pytestmark = [pytest.mark.services, pytest.mark.faults]

PATIENCE_S = 90.0


@pytest.mark.timeout(900)
async def test_one_may_die_and_with_two_dead_nothing_is_acknowledged_until_they_are_back(cluster):
    harness = KafkaHarness(kafka_settings(cluster.address, replication=3))
    log = await harness.open()
    async with supervised(harness.settings):
        writing = Writing(log)
        await writing.goes_on(PATIENCE_S)
        first, second, _ = cluster.nodes
        await asyncio.to_thread(first.kill9)
        await writing.goes_on(PATIENCE_S)
        print(f"with one dead the longest pause was {writing.longest_pause_s:.1f} s")
        await asyncio.to_thread(second.kill9)
        await eventually_async(partial(writing.is_refused, writing.refused + 2), within=PATIENCE_S)
        before = len(writing.told)
        await eventually_async(partial(writing.is_refused, writing.refused + 3), within=PATIENCE_S)
        assert len(writing.told) == before, "acknowledged by one broker alone"
        with pytest.raises(LogUnavailable):
            await asyncio.to_thread(apply, replace(harness.settings, prefix="other"))
        first.launch()
        second.launch()
        await writing.goes_on(2 * PATIENCE_S)
        await writing.end()
        print(f"{len(writing.told)} told, refused {writing.refused} times, longest pause {writing.longest_pause_s:.1f} s")
        there = {event.command_id for event in await sound_events(log)}
    assert set(writing.told) <= there, "something acknowledged is lost"
    await harness.close()

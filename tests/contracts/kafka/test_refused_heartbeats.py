"""Kafka goes on being read and refuses heartbeats: does the sweeper take those who cannot speak for silent?"""

import asyncio
from dataclasses import replace

import pytest

from domain.run.messages import ClaimRun, RunClaimed
from infra.wiring.outside import SystemClock
from processors.executor.inventory import UnfinishedRun
from processors.executor.runtime import ExecutorPorts, ExecutorRuntime, ExecutorSettings
from processors.sweeper.runtime import SweeperPorts, SweeperRuntime
from schemas.event_envelope import RecordedEvent
from schemas.position import Position
from schemas.topics import EXECUTORS, MAX_RECORD_BYTES
from tests.contracts.kafka.test_topics import change
from tests.contracts.kafka_harness import KafkaHarness, kafka_settings
from tests.contracts.records import event
from tests.support.builders import envelope, run_of
from tests.support.eventually import eventually_async

pytestmark = pytest.mark.services

LEASE_S, PATIENCE_S = 3.0, 60.0
NAME = "executor-1"
CLAIMED = replace(event(envelope(ClaimRun(NAME, 1), f"run/{run_of()}")), type=RunClaimed.__name__)


class OneClaim:
    """Implements `Inventory` where one run is held by the executor for ever."""

    async def unfinished_runs(self):
        return [UnfinishedRun(run_of(), 2, NAME, 1)]

    async def open_checks(self):
        return []

    async def history(self, stream):
        return [RecordedEvent(CLAIMED, Position("runs", 0, 0))]


class Noted:
    """Implements `CommandSender` for one who must not send."""

    def __init__(self):
        self.sent = []

    async def send(self, command):
        self.sent.append(command.type)


def sweeper(log, sender):
    ports = SweeperPorts(
        sender=sender,
        records=log.records,
        reader=log.reader,
        inventory=OneClaim(),
        clock=SystemClock(),
        sleep=asyncio.sleep,
    )
    return SweeperRuntime(LEASE_S, ports)


def executor(log):
    ports = ExecutorPorts(
        sender=log.sender,
        outcomes=log.outcomes,
        records=log.records,
        shards=log.reader.shards,
        inventory=OneClaim(),
        vault=None,
        connector=None,
        clock=SystemClock(),
        sleep=asyncio.sleep,
        crashed=lambda what, error: None,
    )
    return ExecutorRuntime(ExecutorSettings(executor=NAME, lease_s=LEASE_S), ports)


async def keeps_its_claim_while_it_cannot_speak(harness, key, refusing, taking):
    """And loses it once it could and does not. The topic's setting `key` makes the broker refuse heartbeats, or take them."""
    here, there, orders = await harness.open(), await harness.open(), Noted()
    sweeping = sweeper(here, orders)
    tasks = [asyncio.create_task(each) for each in (sweeping.run(), executor(there).run())]

    async def is_heard():
        return NAME in sweeping._watch._heard and sweeping._watch._silence_s(NAME) < LEASE_S / 2

    async def is_silent_for_long():
        assert sweeping._watch._silence_s(NAME) > 2 * LEASE_S, "the topic is not read, or heartbeats are taken"

    async def is_expired():
        return orders.sent

    await eventually_async(is_heard, within=PATIENCE_S)
    await asyncio.to_thread(change, harness.settings, EXECUTORS, key, refusing)
    await eventually_async(is_silent_for_long, within=PATIENCE_S)
    await asyncio.to_thread(change, harness.settings, EXECUTORS, key, taking)
    await eventually_async(is_heard, within=PATIENCE_S)
    assert orders.sent == []
    tasks[1].cancel()
    await eventually_async(is_expired, within=PATIENCE_S)
    assert orders.sent == ["ExpireClaim"] and sweeping.trouble is None
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_silence_in_which_the_broker_refused_heartbeats_is_none(log_on_kafka):
    """Every record is too large for it, since one broker is never too few."""
    await keeps_its_claim_while_it_cannot_speak(log_on_kafka, "max.message.bytes", "1", str(MAX_RECORD_BYTES))


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_a_silence_in_which_too_few_replicas_were_in_sync_is_none(cluster):
    harness = KafkaHarness(kafka_settings(cluster.address, replication=3, send_s=2.0))
    await harness.open()
    await asyncio.to_thread(cluster.nodes[0].kill9)
    await keeps_its_claim_while_it_cannot_speak(harness, "min.insync.replicas", "3", "2")
    await harness.close()

"""The suite's grip on the Kafka log."""

import asyncio
import contextlib
import socket
import struct
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.kafka.log import KafkaLog
from infra.kafka.settings import KafkaLogSettings
from infra.kafka.topics import apply
from schemas.log import CommitAborted
from tests.support.eventually import eventually_async


def kafka_settings(bootstrap, **changes):
    """A log of its own on the shared Kafka, with short time-outs."""
    settings = KafkaLogSettings(
        bootstrap=bootstrap,
        prefix=f"test-{uuid4().hex[:12]}",
        partitions=4,
        transaction_s=5,
        session_s=6,
        max_poll_s=20,
        heartbeat_s=0.1,
        call_s=3,
        # An owner is made to stand still for up to `patience_s / 2`; its watchdog would end the process of the tests.
        hang_s=120,
    )
    return replace(settings, **changes)


def expel(settings, member):
    """What the group does to a member it has not heard of for a session: to the group it is as if it had left."""
    host, _, port = settings.bootstrap.split(",")[0].rpartition(":")
    body = b"".join(struct.pack(">h", len(text)) + text.encode() for text in (settings.group, member))
    request = struct.pack(">hhih", 13, 1, 1, -1) + body
    with socket.create_connection((host, int(port)), timeout=5) as link:
        link.sendall(struct.pack(">i", len(request)) + request)
        answer = link.recv(64)
    (error,) = struct.unpack(">h", answer[12:14])
    assert error == 0, f"the group did not let {member} go: error {error}"


class Held:
    """A producer that stops before the end of its transaction until it is told how to end it."""

    def __init__(self, producer):
        self._producer = producer
        self.reached, self.go = threading.Event(), threading.Event()
        self.abort = False

    def __getattr__(self, name):
        return getattr(self._producer, name)

    def commit_transaction(self, timeout):
        self.reached.set()
        assert self.go.wait(60)
        if self.abort:
            raise KafkaException(KafkaError(KafkaError._PURGE_QUEUE, "the test aborts it", txn_requires_abort=True))
        self._producer.commit_transaction(timeout)


class KafkaStaged:
    def __init__(self, owner, taken, events, outcomes):
        self._transactions = owner._transactions
        self._held = self._transactions._producer = Held(self._transactions._producer)
        self._task = asyncio.create_task(owner.commit(taken, events, outcomes))

    async def begun(self):
        assert await asyncio.to_thread(self._held.reached.wait, 20)
        return self

    async def commit(self):
        self._held.go.set()
        await self._task

    async def abort(self):
        self._held.abort = True
        self._held.go.set()
        (result,) = await asyncio.gather(self._task, return_exceptions=True)
        assert isinstance(result, CommitAborted), result


class KafkaHarness:
    shards, patience_s, glance_s = 4, 60.0, 0.3

    def __init__(self, settings):
        self.settings = settings
        self._opened = []
        self._admin = AdminClient({"bootstrap.servers": settings.bootstrap})
        self._producer = Producer({"bootstrap.servers": settings.bootstrap})

    async def open(self):
        await asyncio.to_thread(apply, self.settings)
        return await self._open()

    async def _open(self):
        self._opened.append(OpenedKafkaLog(await KafkaLog.open(self.settings)))
        return self._opened[-1]

    async def reopen(self, log):
        await log.close()
        return await self._open()

    async def put(self, log, partition, record):
        topic = self.settings.topic(partition.topic)
        self._producer.produce(topic, record.value, record.key, partition.shard, headers=list(record.headers))
        assert await asyncio.to_thread(self._producer.flush, 10) == 0

    async def delete_before(self, log, partition, offset):
        place = TopicPartition(self.settings.topic(partition.topic), partition.shard, offset)
        for future in self._admin.delete_records([place]).values():
            await asyncio.to_thread(future.result, 10)

    async def stage(self, log, owner, taken, events, outcomes):
        return await KafkaStaged(owner, taken, events, outcomes).begun()

    async def usurp(self, log, owner, instance):
        consumer = owner._lanes._consumer
        member = consumer.memberid()
        standing, go = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def stand():
            loop.call_soon_threadsafe(standing.set)
            assert go.wait(self.patience_s / 2)

        # An owner at work would notice within a heartbeat, and join again beside its heir.
        stood = asyncio.create_task(owner._do(stand))
        await standing.wait()
        try:
            return await self._heir(log, consumer, member, instance)
        finally:
            go.set()
            await stood

    async def _heir(self, log, consumer, member, instance):
        expel(self.settings, member)
        heir = log.owned_shards(instance)

        async def owns_all():
            return len((await heir.take(0, 0.1)).shards) == self.shards

        async def noticed_in_the_background():
            return consumer.memberid() != member

        await eventually_async(owns_all, self.patience_s)
        await eventually_async(noticed_in_the_background, self.patience_s)
        return heir

    async def close(self):
        for log in self._opened:
            await log.close()


class OpenedKafkaLog:
    """A log that closes the members a failed test left open, so that one failure does not hold up the next test."""

    def __init__(self, log):
        self._log = log
        self._members = []

    def __getattr__(self, name):
        return getattr(self._log, name)

    def owned_shards(self, instance):
        self._members.append(self._log.owned_shards(instance))
        return self._members[-1]

    async def close(self):
        for member in self._members:
            with contextlib.suppress(Exception):
                await member.close()
        await self._log.close()


@asynccontextmanager
async def open_harness(request, tmp_path):
    harness = KafkaHarness(kafka_settings(request.getfixturevalue("kafka")))
    try:
        yield harness
    finally:
        await harness.close()

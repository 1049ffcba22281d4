"""The Faust binding on a real Kafka: what it hands out, and what happens when members come and go or the broker restarts.

Every member is a process of its own, as in the cluster.
"""

import asyncio
import signal
import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import KafkaException, Producer

from domain.identity import TARGET, stream_of
from domain.target import TargetRetitled
from infra.deploy.services.kafka import KafkaNode
from infra.deploy.services.kafka_jars import kafka_jars
from infra.deploy.services.together import services_folder
from infra.kafka.settings import KafkaLogSettings
from infra.kafka.topics import apply
from schemas.actor import Actor
from schemas.event_envelope import EventEnvelope
from schemas.partitioning import shard_of
from schemas.payload import to_json
from schemas.wire import encode_event
from tests.support.eventually import eventually_async

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]


def retitled(number: int) -> EventEnvelope:
    """An event whose version is `number`: whoever is handed it can say which it was."""
    return EventEnvelope(
        event_id=uuid4(),
        type="TargetRetitled",
        schema_version=1,
        stream=stream_of(TARGET, f"web-{number % 16}"),
        version=number,
        payload=to_json(TargetRetitled(str(number))),
        actor=Actor("user", "alice"),
        time=datetime.now(UTC),
        command_id=uuid4(),
        correlation_id="c",
        previous_hash="",
        hash="",
    )


class Deployment:
    """A group of executors on topics of their own; `seen` is what any member was handed."""

    def __init__(self, bootstrap: str, partitions: int = 4) -> None:
        self.settings = KafkaLogSettings(bootstrap=bootstrap, prefix=f"faust-{uuid4().hex[:8]}", partitions=partitions)
        self.seen: list[int] = []
        self.ready: set[int] = set()
        apply(self.settings)
        self._producer = self._new_producer()

    def _new_producer(self) -> Producer:
        producer = Producer({"bootstrap.servers": self.settings.bootstrap, "transactional.id": self.settings.prefix})
        producer.init_transactions(30)
        return producer

    async def write(self, numbers: Iterable[int], commit: bool = True) -> None:
        """One transaction."""
        await asyncio.to_thread(self._write, list(numbers), commit)

    def _write(self, numbers: list[int], commit: bool) -> None:
        self._producer.begin_transaction()
        for number in numbers:
            event = retitled(number)
            record = encode_event(event)
            shard = shard_of(event.stream, self.settings.partitions)
            topic = self.settings.topic("targets")
            self._producer.produce(topic, record.value, record.key, shard, headers=list(record.headers))
        assert self._producer.flush(20) == 0
        self._producer.commit_transaction(20) if commit else self._producer.abort_transaction(20)

    async def write_after_all(self, numbers: Iterable[int]) -> None:
        """One transaction, also when the broker is not there at once."""

        async def written() -> bool:
            try:
                await self.write(numbers)
            except (KafkaException, AssertionError):
                self._producer = await asyncio.to_thread(self._new_producer)
                return False
            return True

        await eventually_async(written, within=60)

    @asynccontextmanager
    async def member(self, stop: signal.Signals = signal.SIGTERM):
        """One member while the block runs; then it is told to leave, or killed."""
        where = (self.settings.bootstrap, self.settings.prefix, str(self.settings.partitions))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.processors.faust_member", *where),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        reading = asyncio.create_task(self._read(process))
        try:
            assert process.stdout and (await asyncio.wait_for(self._ready(process), 120))
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(stop)
            await asyncio.wait_for(process.wait(), 60)
            await reading

    async def _ready(self, process: asyncio.subprocess.Process) -> bool:
        while process.pid not in self.ready and process.returncode is None:
            await asyncio.sleep(0.05)
        return process.pid in self.ready

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout
        while line := (await process.stdout.readline()).strip():
            if line == b"ready":
                self.ready.add(process.pid)
            else:
                self.seen.append(int(line))

    async def sees(self, numbers: Iterable[int], within: float = 120.0) -> None:
        wanted = set(numbers)

        async def all_seen() -> bool:
            assert wanted <= set(self.seen), f"{len(wanted - set(self.seen))} of {len(wanted)} are missing"
            return True

        await eventually_async(all_seen, within)

    async def warm_up(self) -> None:
        """A new group begins at the end: what was written before its members had their partitions is the sweep's."""

        async def sees() -> bool:
            await self.write(range(16))
            await asyncio.sleep(0.5)
            return set(range(16)) <= set(self.seen)

        await eventually_async(sees, within=60)


async def test_an_aborted_record_never_reaches_a_processor_and_what_follows_it_does_also_beside_a_spare_member(kafka: str):
    system = await asyncio.to_thread(Deployment, kafka, 1)
    async with system.member(), system.member(), system.member():
        await system.warm_up()
        await system.write(range(100, 140), commit=False)
        await system.write(range(200, 240))
        await system.write(range(300, 340), commit=False)
        await system.write(range(400, 440))
        await system.sees([*range(200, 240), *range(400, 440)])
    assert not set(system.seen) & {*range(100, 140), *range(300, 340)}


async def test_members_that_come_go_and_die_lose_no_event(kafka: str):
    system = await asyncio.to_thread(Deployment, kafka, 4)
    written: set[int] = set()
    done = asyncio.Event()

    async def writing() -> None:
        number = 1_000
        while not done.is_set():
            commit = (number // 8) % 3 != 0
            await system.write(range(number, number + 8), commit)
            written.update(range(number, number + 8) if commit else ())
            number += 8
            await asyncio.sleep(0.05)

    async with AsyncExitStack() as stays:
        await stays.enter_async_context(system.member())
        await system.warm_up()
        writer = asyncio.create_task(writing())
        async with system.member(signal.SIGKILL), system.member():
            await asyncio.sleep(1)
        async with system.member():
            await asyncio.sleep(1)
        done.set()
        await writer
        await system.sees(written)
    assert len(written) > 100
    assert set(system.seen) <= written | set(range(16)), "an aborted event was handed out"


async def test_a_restarted_broker_is_gone_on_with(tmp_path: Path):
    with KafkaNode(home=tmp_path, jars=await asyncio.to_thread(kafka_jars, services_folder())) as node:
        system = await asyncio.to_thread(Deployment, node.address, 2)
        async with system.member() as member:
            await system.warm_up()
            await asyncio.to_thread(node.kill9)
            await asyncio.to_thread(node.start)
            await system.write_after_all(range(100, 140))
            await system.sees(range(100, 140), within=60)
            assert member.returncode is None

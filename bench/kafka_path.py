"""How fast is the command path on Kafka, beside the bare loop of a program that only moves the same bytes?"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, Producer, TopicPartition

from bench.figures import Line, at_least, at_most, median, percentile
from bench.owner_process import SHARDS, log_settings
from bench.sample import commands
from infra.kafka.log import KafkaLog
from infra.kafka.settings import KafkaLogSettings
from infra.kafka.topics import apply
from schemas.partitioning import shard_of
from schemas.wire import encode_command

KINDS = ("ours", "bare")
_ENDS_WITHIN_S = 120


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is measured."""

    rounds: int
    commands: int
    alone: int
    at_once: int


@dataclass(frozen=True, slots=True)
class _Sides:
    """Ours and the bare loop, each on topics of its own."""

    settings: dict[str, KafkaLogSettings]
    folder: Path


def measure(bootstrap: str, folder: Path, amounts: Amounts) -> tuple[list[Line], dict[str, Any]]:
    """The rows of the report and the single measurements."""
    settings = {kind: log_settings(bootstrap, f"bench-{kind}-{uuid4().hex[:8]}") for kind in KINDS}
    for each in settings.values():
        apply(each)
    sides = _Sides(settings, folder / "state")
    raw: dict[str, Any] = {}
    for kind in KINDS:
        _throughput(sides, kind, 100, amounts.commands)  # a broker is slow in its first seconds
    for batch in (100, 500):
        for _ in range(amounts.rounds):
            for kind in KINDS:
                raw.setdefault(f"{kind} {batch}", []).append(_throughput(sides, kind, batch, amounts.commands))
    for in_flight, count in ((1, amounts.alone), (64, amounts.at_once)):
        for _ in range(amounts.rounds):
            for kind in KINDS:
                raw.setdefault(f"{kind} {in_flight} in flight", []).append(_round_trips(sides, kind, in_flight, count))
    return _lines(raw), raw


def _lines(raw: dict[str, Any]) -> list[Line]:
    def of(key: str, what: str) -> float:
        return median(each[what] for each in raw[key])

    lines = []
    for batch in (100, 500):
        ours, bare = f"ours {batch}", f"bare {batch}"
        lines.append(at_least(f"Kafka: {batch} a transaction", of(ours, "rate"), of(bare, "rate"), "commands/s", 0.5))
        lines.append(
            Line(f"Kafka: {batch} a transaction, the owner's CPU", of(ours, "cpu_us"), of(bare, "cpu_us"), "µs a command")
        )
    for flight, said in ((1, "alone"), (64, "64 in flight")):
        ours, bare = f"ours {flight} in flight", f"bare {flight} in flight"
        lines.append(at_most(f"Kafka: round trip {said}, p50", of(ours, "p50_ms"), of(bare, "p50_ms"), "ms", 2))
        lines.append(Line(f"Kafka: round trip {said}, p99", of(ours, "p99_ms"), of(bare, "p99_ms"), "ms"))
    return lines


@contextlib.contextmanager
def _owner(sides: _Sides, kind: str, batch: int, until: int) -> Iterator[subprocess.Popen[str]]:
    settings = sides.settings[kind]
    told = [settings.bootstrap, settings.prefix, str(sides.folder), str(batch), str(until)]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.owner_process", kind, *told], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _throughput(sides: _Sides, kind: str, batch: int, count: int) -> dict[str, float]:
    """The backlog is there before the owner starts; counted is from its first commit to its last."""
    _preload(sides.settings[kind], count)
    with _owner(sides, kind, batch, count) as process:
        told, _ = process.communicate(timeout=_ENDS_WITHIN_S)
    commits = json.loads(told)["commits"]
    (began, cpu_began, first), (ended, cpu_ended, _) = commits[0], commits[-1]
    moved = sum(each[2] for each in commits) - first
    return {
        "rate": moved / (ended - began),
        "cpu_us": (cpu_ended - cpu_began) / moved * 1e6,
        "a_transaction": moved / (len(commits) - 1),
    }


def _preload(settings: KafkaLogSettings, count: int) -> None:
    producer = Producer({"bootstrap.servers": settings.bootstrap, "linger.ms": 5, "compression.type": "lz4"})
    for number, command in enumerate(commands(count)):
        record = encode_command(command)
        shard = shard_of(command.stream, SHARDS)
        producer.produce(settings.topic("commands.people"), record.value, record.key, shard, headers=list(record.headers))
        if number % 5000 == 0:
            producer.flush(10)
    producer.flush(10)


def _round_trips(sides: _Sides, kind: str, in_flight: int, count: int) -> dict[str, float]:
    warm = max(50, in_flight * 4)
    with _owner(sides, kind, 500, 0) as process:
        if kind == "ours":
            taken = asyncio.run(_our_trips(sides.settings[kind], in_flight, count, warm))
        else:
            taken = _bare_trips(sides.settings[kind], in_flight, count, warm)
        process.communicate("", timeout=_ENDS_WITHIN_S)
    return {"p50_ms": percentile(taken, 0.5) * 1e3, "p99_ms": percentile(taken, 0.99) * 1e3}


async def _our_trips(settings: KafkaLogSettings, in_flight: int, count: int, warm: int) -> list[float]:
    """As the API does it: send, then wait for the outcome."""
    log = await KafkaLog.open(settings)
    left = commands(count + warm)
    taken: list[float] = []

    async def one_after_the_other() -> None:
        for command in left:
            began = time.perf_counter()
            await log.sender.send(command)
            if await log.outcomes.wait(command.command_id, 60) is None:
                raise TimeoutError("no outcome")
            taken.append(time.perf_counter() - began)

    try:
        await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))
    finally:
        await log.close()
    return taken[warm:]


def _bare_trips(settings: KafkaLogSettings, in_flight: int, count: int, warm: int) -> list[float]:
    """Produce, and follow the outcomes; the same durability and isolation, and nothing else."""
    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            "socket.nagle.disable": True,
            "linger.ms": 0,
        }
    )
    consumer = _outcomes_from_now(settings)
    left = commands(count + warm)
    began: dict[bytes, float] = {}
    taken: list[float] = []
    send = _bare_sender(producer, settings, began)
    for _ in range(in_flight):
        send(next(left))
    while began:
        producer.poll(0)
        for message in (consumer.poll(0.1), *consumer.consume(500, 0)):
            if message is not None and message.error() is None and (at := began.pop(message.key(), None)) is not None:
                taken.append(time.perf_counter() - at)
                if (command := next(left, None)) is not None:
                    send(command)
    consumer.close()
    return taken[warm:]


def _outcomes_from_now(settings: KafkaLogSettings) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "socket.nagle.disable": True,
            "fetch.wait.max.ms": 10,
        }
    )
    topic = settings.topic("outcomes")
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, shard), 10)[1] for shard in range(SHARDS)]
    consumer.assign([TopicPartition(topic, shard, end) for shard, end in enumerate(ends)])
    return consumer


def _bare_sender(producer: Producer, settings: KafkaLogSettings, began: dict[bytes, float]) -> Callable[[Any], None]:
    def send(command: Any) -> None:
        record = encode_command(command)
        began[record.key] = time.perf_counter()
        shard = shard_of(command.stream, SHARDS)
        producer.produce(settings.topic("commands.people"), record.value, record.key, shard, headers=list(record.headers))

    return send

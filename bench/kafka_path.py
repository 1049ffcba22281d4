"""How fast is the command path on Kafka, beside the bare loop of a program that only moves the same bytes?"""

import asyncio
import contextlib
import json
import signal
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
from bench.owner_process import SHARDS, Readiness, log_settings
from bench.sample import commands
from infra.kafka.consuming import Offsets
from infra.kafka.log import KafkaLog
from infra.kafka.settings import KafkaLogSettings
from infra.kafka.topics import apply
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.topics import OUTCOMES
from schemas.wire import WireRecord, encode_command

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
    for kind in KINDS:
        _throughput(sides, kind, 100, amounts.commands)  # a broker is slow in its first seconds
    raw: dict[str, Any] = {}
    for name, measured in _measurements(sides, amounts):
        for _ in range(amounts.rounds):
            for kind in KINDS:
                raw.setdefault(f"{kind} {name}", []).append(measured(kind))
    return _lines(raw), raw


def _measurements(sides: _Sides, amounts: Amounts) -> list[tuple[str, Callable[[str], dict[str, float]]]]:
    count = amounts.commands
    return [
        ("100", lambda kind: _throughput(sides, kind, 100, count)),
        ("500", lambda kind: _throughput(sides, kind, 500, count)),
        ("100, two", lambda kind: _throughput_of_two(sides, kind, 100, 2 * count)),
        ("1 in flight", lambda kind: _round_trips(sides, kind, 1, amounts.alone)),
        ("64 in flight", lambda kind: _round_trips(sides, kind, 64, amounts.at_once)),
    ]


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
    two, loop, loops = of("ours 100, two", "rate"), of("bare 100", "rate"), of("bare 100, two", "rate")
    lines.append(at_least("Kafka: 100 a transaction, two owners beside one loop", two, loop, "commands/s", 0.5))
    lines.append(at_least("Kafka: 100 a transaction, two owners beside two loops", two, loops, "commands/s", 0.5))
    for flight, said in ((1, "alone"), (64, "64 in flight")):
        ours, bare = f"ours {flight} in flight", f"bare {flight} in flight"
        lines.append(at_most(f"Kafka: round trip {said}, p50", of(ours, "p50_ms"), of(bare, "p50_ms"), "ms", 2))
        lines.append(Line(f"Kafka: round trip {said}, p99", of(ours, "p99_ms"), of(bare, "p99_ms"), "ms"))
    return lines


@contextlib.contextmanager
def _owners(sides: _Sides, kind: str, batch: int, until: int, count: int = 1) -> Iterator[list[subprocess.Popen[str]]]:
    settings = sides.settings[kind]

    def started(number: int) -> subprocess.Popen[str]:
        instance = f"bench-{count}-{number}"
        told = [kind, settings.bootstrap, settings.prefix, instance, str(sides.folder / instance), str(batch), str(until)]
        command = [sys.executable, "-m", "bench.owner_process", *told, str(SHARDS // count)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    processes = [started(number) for number in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def _told(process: subprocess.Popen[str]) -> list[Any]:
    """What it committed, once it has ended."""
    told, _ = process.communicate("", timeout=_ENDS_WITHIN_S)
    commits: list[Any] = json.loads(told.splitlines()[-1])["commits"]
    return [commit for commit in commits if commit[2]]


def _throughput(sides: _Sides, kind: str, batch: int, count: int) -> dict[str, float]:
    """The backlog is there before the owner starts; counted is from its first commit to its last."""
    _send(sides.settings[kind], _records(count))
    with _owners(sides, kind, batch, count) as (process,):
        commits = _told(process)
    return _rate([commits], commits[0][0], commits[-1][0])


def _throughput_of_two(sides: _Sides, kind: str, batch: int, count: int) -> dict[str, float]:
    """Two processes share the shards, and stand still while the backlog comes: bare loops are faster than who sends it.

    Counted is until the first of them has nothing left.
    """
    settings = sides.settings[kind]
    records = _records(count)
    with _owners(sides, kind, batch, 0, 2) as processes:
        for process in processes:
            _await_ready(process)
            process.send_signal(signal.SIGSTOP)
        _send(settings, records)
        sent = time.perf_counter()
        for process in processes:
            process.send_signal(signal.SIGCONT)
        _await_rest(settings)
        commits = [_told(process) for process in processes]
    return _rate(commits, sent, min(each[-1][0] for each in commits))


def _await_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    if process.stdout.readline().strip() != Readiness.LINE:
        raise RuntimeError("an owner of the bench ended before it had its shards")


def _await_rest(settings: KafkaLogSettings) -> None:
    """Until nothing more is written for a second."""
    offsets, partitions = Offsets(settings), [Partition(OUTCOMES, shard) for shard in range(SHARDS)]
    deadline, before = time.monotonic() + _ENDS_WITHIN_S, -1
    while (now := sum(offsets.ends(partitions).values())) != before:
        if time.monotonic() > deadline:
            raise TimeoutError("the owners of the bench do not come to an end")
        before = now
        time.sleep(1)


def _rate(commits: list[list[Any]], began: float, ended: float) -> dict[str, float]:
    """What all of them committed after the one time, up to the other."""
    within = [[commit for commit in each if began < commit[0] <= ended] for each in commits]
    moved = sum(commit[2] for each in within for commit in each)
    cpu = sum(each[-1][1] - each[0][1] for each in within)
    counted = sum(commit[2] for each in within for commit in each[1:])
    return {
        "rate": moved / (ended - began),
        "cpu_us": cpu / counted * 1e6,
        "a_transaction": moved / sum(len(each) for each in within),
    }


def _records(count: int) -> list[tuple[int, WireRecord]]:
    return [(shard_of(command.stream, SHARDS), encode_command(command)) for command in commands(count)]


def _send(settings: KafkaLogSettings, records: list[tuple[int, WireRecord]]) -> None:
    producer = Producer({"bootstrap.servers": settings.bootstrap, "linger.ms": 5, "compression.type": "lz4"})
    topic = settings.topic("commands.people")
    for number, (shard, record) in enumerate(records):
        producer.produce(topic, record.value, record.key, shard, headers=list(record.headers))
        if number % 5000 == 0:
            producer.flush(10)
    producer.flush(10)


def _round_trips(sides: _Sides, kind: str, in_flight: int, count: int) -> dict[str, float]:
    warm = max(50, in_flight * 4)
    with _owners(sides, kind, 500, 0) as (process,):
        if kind == "ours":
            taken = asyncio.run(_our_trips(sides.settings[kind], in_flight, count, warm))
        else:
            taken = _bare_trips(sides.settings[kind], in_flight, count, warm)
        _told(process)
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

"""The owner's process in a bench: ours or the bare loop. It tells of itself in one line of JSON when it ends.

    python -m bench.owner_process ours|bare BOOTSTRAP PREFIX INSTANCE FOLDER BATCH UNTIL SHARE

BATCH is the most commands of a transaction. It ends after UNTIL commands, or, with 0, when its standard input closes.
`commits` are [seconds, processor seconds, commands]. Before, it says in a line of its own when it has SHARE of the shards.
"""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from bench.sample import answer
from commands.owner import Bounds, Owner, Ports
from commands.state_form import fingerprint
from infra.kafka.log import KafkaLog
from infra.kafka.settings import KafkaLogSettings
from infra.sqlite.state_store import SqliteStateStores
from infra.wiring.garbage import look_seldom
from schemas.event_envelope import EventEnvelope
from schemas.log import NO_SHARDS, OwnedShards, Taken
from schemas.outcome import Outcome
from schemas.position import Position

SHARDS = 12
AHEAD = 5
"""How many transactions are taken at once, as the owner does by default: one is settled while the one before it is committed."""


def log_settings(bootstrap: str, prefix: str, instance: str = "bench") -> KafkaLogSettings:
    """The log of one bench: one replica, as many shards as a cluster has by default."""
    return KafkaLogSettings(bootstrap=bootstrap, prefix=prefix, partitions=SHARDS, replication=1, instance=instance)


class Readiness:
    """Says once that so many shards are ours: others may wait for it."""

    LINE = "ready"

    def __init__(self, share: int) -> None:
        self._share, self._said = share, False

    def owns(self, shards: int) -> None:
        """Note how many shards are ours now."""
        if shards == self._share and not self._said:
            self._said = True
            sys.stdout.write(self.LINE + "\n")
            sys.stdout.flush()


@dataclass
class Tally:
    """When how many commands were committed."""

    until: int
    done: asyncio.Event | threading.Event
    commits: list[tuple[float, float, int]] = field(default_factory=list)
    total: int = 0

    def committed(self, count: int) -> None:
        """Note a transaction."""
        self.total += count
        self.commits.append((time.perf_counter(), time.process_time(), count))
        if self.until and self.total >= self.until:
            self.done.set()


class Counted:
    """Owned shards that note every commit."""

    def __init__(self, inner: OwnedShards, tally: Tally, readiness: Readiness) -> None:
        self._inner, self._tally, self._readiness = inner, tally, readiness

    async def take(self, limit: int, within_s: float, without: Set[int] = NO_SHARDS) -> Taken:
        taken = await self._inner.take(limit, within_s, without)
        self._readiness.owns(len(taken.shards))
        return taken

    async def commit(self, taken: Taken, events: Sequence[EventEnvelope], outcomes: Sequence[Outcome]) -> Sequence[Position]:
        positions = await self._inner.commit(taken, events, outcomes)
        self._tally.committed(len(taken.commands))
        return positions

    async def abandon(self, taken: Taken) -> None:
        await self._inner.abandon(taken)

    async def close(self) -> None:
        await self._inner.close()


async def ours(settings: KafkaLogSettings, folder: Path, batch: int, until: int, readiness: Readiness) -> Tally:
    """The real owner on the real log, with its snapshots."""
    stop = asyncio.Event()
    tally = Tally(until, stop)
    log = await KafkaLog.open(settings)
    stores = SqliteStateStores(folder, fingerprint("bench"))
    ports = Ports(
        log=Counted(log.owned_shards(), tally, readiness),
        reader=log.reader,
        stores=stores,
        sleep=asyncio.sleep,
        monotonic=time.monotonic,
    )
    loop = asyncio.get_running_loop()
    if not until:
        threading.Thread(target=_end_with_input, args=(lambda: loop.call_soon_threadsafe(stop.set),), daemon=True).start()
    await Owner(ports, Bounds(batch=AHEAD * batch, transaction=batch)).run(stop)
    await stores.close()
    await log.close()
    return tally


def _end_with_input(end: Any) -> None:
    sys.stdin.read()
    end()


class BareLoop:
    """Consume, then one transaction: produce as many bytes as the owner, flush, send offsets, commit."""

    def __init__(self, settings: KafkaLogSettings, batch: int, readiness: Readiness) -> None:
        self._settings, self._batch, self._answer = settings, batch, answer()
        shared = {"bootstrap.servers": settings.bootstrap, "socket.nagle.disable": True}
        self.consumer = Consumer(
            shared
            | {
                "group.id": settings.group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
            }
        )
        self._producer = Producer(
            shared
            | {
                "transactional.id": settings.transactional_id,
                "acks": "all",
                "compression.type": "lz4",
                "linger.ms": 5,
                "retry.backoff.ms": 10,
            }
        )
        self._producer.init_transactions(30)
        self.consumer.subscribe([settings.topic("commands.people")], on_assign=lambda _, mine: readiness.owns(len(mine)))

    def turn(self) -> int:
        """One transaction, if there is anything to consume; how many commands it held."""
        first = self.consumer.poll(0.1)
        if first is None:
            return 0
        messages: list[Message] = [first, *self.consumer.consume(self._batch - 1, 0)]
        producer, written = self._producer, self._answer
        events, outcomes = self._settings.topic("targets"), self._settings.topic("outcomes")
        producer.begin_transaction()
        for message in messages:
            key, shard = message.key(), message.partition()
            producer.produce(events, written.event.value, key, shard, headers=list(written.event.headers))
            producer.produce(outcomes, written.outcome.value, key, shard)
        producer.flush(10)
        after = {m.partition(): m.offset() + 1 for m in messages}
        offsets = [TopicPartition(self._settings.topic("commands.people"), p, o) for p, o in after.items()]
        producer.send_offsets_to_transaction(offsets, self.consumer.consumer_group_metadata(), 10)
        producer.commit_transaction(10)
        return len(messages)


def bare(settings: KafkaLogSettings, batch: int, until: int, readiness: Readiness) -> Tally:
    """The loop of a program that does nothing but move the same bytes under the same guarantees."""
    done = threading.Event()
    tally = Tally(until, done)
    if not until:
        threading.Thread(target=_end_with_input, args=(done.set,), daemon=True).start()
    loop = BareLoop(settings, batch, readiness)
    while not done.is_set():
        if count := loop.turn():
            tally.committed(count)
    loop.consumer.close()
    return tally


def main() -> None:
    """Run one of the two."""
    which, bootstrap, prefix, instance, folder, batch, until, share = sys.argv[1:]
    settings, readiness = log_settings(bootstrap, prefix, instance), Readiness(int(share))
    look_seldom()
    if which == "ours":
        tally = asyncio.run(ours(settings, Path(folder), int(batch), int(until), readiness))
    else:
        tally = bare(settings, int(batch), int(until), readiness)
    sys.stdout.write(json.dumps({"commits": tally.commits}) + "\n")


if __name__ == "__main__":
    main()

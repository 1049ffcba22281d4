"""One member of the executors' group in a process of its own: prints `ready` once it has joined, then every event it is handed.

Usage: faust_member.py BOOTSTRAP PREFIX PARTITIONS
"""

import asyncio
import signal
import sys
from datetime import UTC, datetime
from time import monotonic

from infra.kafka.consuming import Offsets
from infra.kafka.reader import KafkaReader
from infra.kafka.settings import KafkaLogSettings
from processors.bindings.faust import FaustBinding, FaustSettings
from schemas.event_envelope import EventEnvelope


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return monotonic()


async def offer(event: EventEnvelope) -> None:
    print(event.version, flush=True)


def binding_for(bootstrap: str, prefix: str, partitions: int) -> FaustBinding:
    log = KafkaLogSettings(bootstrap=bootstrap, prefix=prefix, partitions=partitions)
    settings = FaustSettings(
        bootstrap=bootstrap,
        prefix=prefix,
        shards=partitions,
        group=f"{prefix}-executor",
        session_s=6.0,
        commit_every_s=0.3,
        stuck_after_s=20.0,
    )
    return FaustBinding(settings, offer, KafkaReader(log, Offsets(log)))


async def main(bootstrap: str, prefix: str, partitions: str) -> None:
    binding = binding_for(bootstrap, prefix, int(partitions))
    running = asyncio.create_task(binding.run(Clock(), asyncio.sleep))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    while not running.done() and not (binding.app and binding.app.started and binding.app.consumer_generation_id):
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await asyncio.gather(running, return_exceptions=True)
    if not running.cancelled():
        running.result()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

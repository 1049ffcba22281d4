"""Owners on a log, in one process: started, stopped, killed, and asked what is in the log."""

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

from commands.owner import Bounds, Owner, Ports
from schemas.command_envelope import CommandEnvelope
from schemas.event_envelope import EventEnvelope, hash_of
from schemas.log import OwnedShards, Recorded
from schemas.outcome import Outcome
from schemas.position import Partition
from schemas.topics import EVENT_TOPICS, OUTCOMES

BOUNDS = Bounds(take_s=0.05, save_every_s=3600, save_every_commands=1_000_000, least_pause_s=0.001, most_pause_s=0.02)
"""Quick, and never saving but when it stops in order."""


def owner_of(log: Any, stores: Any, instance: str = "one", bounds: Bounds = BOUNDS) -> Owner:
    return owner_with(log.owned_shards(instance), log, stores, bounds)


def owner_with(owned: OwnedShards, log: Any, stores: Any, bounds: Bounds = BOUNDS) -> Owner:
    ports = Ports(
        log=owned,
        reader=log.reader,
        stores=stores,
        sleep=asyncio.sleep,
        monotonic=asyncio.get_running_loop().time,
    )
    return Owner(ports, bounds)


class Running:
    """A running owner."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self._stop = asyncio.Event()
        self.task = asyncio.create_task(owner.run(self._stop))

    async def stop(self) -> None:
        """In order, as on SIGTERM."""
        self._stop.set()
        await asyncio.wait_for(self.task, 60)

    async def end(self) -> None:
        """At the end of a test, whatever became of it."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def running(log: Any, stores: Any, instance: str = "one", bounds: Bounds = BOUNDS):
    """An owner while the block runs; then it is stopped in order, and what ended it is raised."""
    run = Running(owner_of(log, stores, instance, bounds))
    try:
        yield run.owner
        await run.stop()
    finally:
        await run.end()


async def told(log: Any, *commands: CommandEnvelope, within: float = 20.0) -> list[Outcome]:
    """Send the commands in order and wait for the outcome of each; the last of each id."""
    for command in commands:
        await log.sender.send(command)
    outcomes = [await log.outcomes.wait(command.command_id, within) for command in commands]
    assert None not in outcomes, f"no outcome for {[c.type for c, o in zip(commands, outcomes, strict=True) if o is None]}"
    return outcomes


def codes(outcomes: Sequence[Outcome]) -> list[str]:
    return [getattr(outcome.result, "code", "accepted") for outcome in outcomes]


async def everything(log: Any, topics: Sequence[str] = (*EVENT_TOPICS, OUTCOMES), within: float = 20.0) -> list[Recorded]:
    """All committed records of these topics up to their ends as of now."""
    start = {Partition(topic, shard): 0 for topic in topics for shard in range(log.reader.shards)}
    ends = await log.reader.ends(list(start))
    feed = await log.reader.feed(start)
    found: list[Recorded] = []
    async with asyncio.timeout(within):
        while any(feed.positions[partition] < end for partition, end in ends.items()):
            found += await feed.read(1_000, 0.05)
    await feed.close()
    return found


async def sound_events(log: Any) -> list[EventEnvelope]:
    """All events, after checking that no version is doubled or skipped and that every chain holds."""
    versions: dict[str, int] = {}
    heads: dict[Partition, str] = {}
    events = []
    for record in await everything(log, EVENT_TOPICS):
        event = record.body
        assert isinstance(event, EventEnvelope), f"{record.position} is no event"
        assert event.version == versions.get(event.stream, 0) + 1, f"{record.position}: {event.stream} {event.version}"
        assert event.previous_hash == heads.get(record.position.partition, "0" * 64), f"{record.position} breaks its chain"
        assert event.hash == hash_of(event), f"{record.position} was altered"
        versions[event.stream] = event.version
        heads[record.position.partition] = event.hash
        events.append(event)
    return events

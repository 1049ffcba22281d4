"""Is the log what was written to it? Every event's hash, its tie to the event before and its number in its stream.

A tail that was cut off and a chain that was written anew as a whole are not seen here: that takes checkpoints kept elsewhere.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from domain.audit.hash_chain import GENESIS
from schemas.event_envelope import EventEnvelope, hash_of
from schemas.log import EventReader, LogTruncated, LogUnavailable, Recorded, Undecodable
from schemas.position import Partition, Position
from schemas.topics import EVENT_TOPICS

_AT_ONCE = 500
_PATIENCE_S = 10.0
"""How long the log may take to bring the next events."""


@dataclass(slots=True)
class _Chain:
    """One partition's events as far as they are read: how many, the last hash, and what is wrong with the first bad one."""

    head: str = GENESIS
    events: int = 0
    bad: dict[str, Any] | None = None
    versions: dict[str, int] = field(default_factory=dict)

    def take(self, record: Recorded) -> None:
        """Take in the next record; nothing is looked at after a bad one."""
        if self.bad is not None:
            return
        reason = _why_bad(record, self)
        if reason is not None:
            self.bad = _told(record, reason)
        elif isinstance(record.body, EventEnvelope):
            self.head, self.events = record.body.hash, self.events + 1
            self.versions[record.body.stream] = record.body.version


@dataclass(slots=True)
class LogCheck:
    """Checks the log; one check at a time, since each reads all of it."""

    reader: EventReader
    under_way: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> dict[str, Any]:
        """What was found in the log as it ended when this was called. Raises `LogError`."""
        topics, shards = EVENT_TOPICS, range(self.reader.shards)
        ends = await self.reader.ends([Partition(topic, shard) for topic in topics for shard in shards])
        async with self.under_way:
            try:
                chains = await self._read(ends)
            except LogTruncated:
                chains = await self._read_one_by_one(ends)
        bad = [chain.bad for chain in chains.values() if chain.bad is not None]
        return {
            "intact": not bad,
            "events": sum(chain.events for chain in chains.values()),
            "first_bad": min(bad, key=lambda one: one["time"] or "", default=None),
            "bad": bad,
            "chains": [
                {"topic": partition.topic, "shard": partition.shard, "events": chain.events, "head": chain.head}
                for partition, chain in sorted(chains.items())
                if chain.events or chain.bad
            ],
        }

    async def _read_one_by_one(self, ends: Mapping[Partition, int]) -> Mapping[Partition, _Chain]:
        """A log of which events are missing does not say in which partition: that is looked for, and named."""
        chains: dict[Partition, _Chain] = {}
        for partition, end in ends.items():
            try:
                chains |= await self._read({partition: end})
            except LogTruncated as gap:
                missing = {"position": str(Position(*partition, 0)), "reason": f"events are missing: {gap}", "time": None}
                chains[partition] = _Chain(bad={**missing, "id": None, "stream": None, "version": None})
        return chains

    async def _read(self, ends: Mapping[Partition, int]) -> Mapping[Partition, _Chain]:
        chains = {partition: _Chain() for partition in ends}
        feed = await self.reader.feed(dict.fromkeys(ends, 0))
        try:
            while any(feed.positions[partition] < end for partition, end in ends.items()):
                before = dict(feed.positions)
                records = await feed.read(_AT_ONCE, _PATIENCE_S)
                for record in records:
                    if record.position.offset < ends[record.position.partition]:
                        chains[record.position.partition].take(record)
                if not records and dict(feed.positions) == before:
                    raise LogUnavailable(f"nothing came within {_PATIENCE_S:g} s")
                await asyncio.sleep(0)  # hashing is work: let others in between
        finally:
            await feed.close()
        return chains


def _why_bad(record: Recorded, chain: _Chain) -> str | None:
    event = record.body
    if not isinstance(event, EventEnvelope):
        return event.reason if isinstance(event, Undecodable) else "is no event"
    if hash_of(event) != event.hash:
        return "altered: its hash is not that of what it says"
    if event.previous_hash != chain.head:
        return "does not follow from the event before it: one was dropped, inserted, reordered or replaced"
    before = chain.versions.get(event.stream, 0)
    if event.version != before + 1:
        return f"is version {event.version} of its stream, after version {before}"
    return None


def _told(record: Recorded, reason: str) -> dict[str, Any]:
    said: dict[str, Any] = {"position": str(record.position), "reason": reason, "id": None, "stream": None, "version": None}
    event = record.body
    if not isinstance(event, EventEnvelope):
        return {**said, "time": None}
    named = {"id": str(event.event_id), "stream": event.stream, "version": event.version}
    return {**said, **named, "time": event.time.isoformat().replace("+00:00", "Z")}

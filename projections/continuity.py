"""Is anything missing, doubled or altered between this event and the one before it?

Checked for every event before it is projected (DESIGN §7.3, §7.8): versions of a stream without a gap, hashes chained within a
partition, and each event's hash its own. What came just before is kept in memory; after a start, or for a stream long not seen,
it is read from the audit index, provided that the index has got that far.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, select

from domain.audit.hash_chain import GENESIS
from projections.bookkeeping import positions_of
from projections.fact import Fact
from projections.tables import events
from schemas.event_envelope import EventEnvelope, hash_of
from schemas.position import Partition

_REMEMBERED_STREAMS = 20_000

_LAST_VERSION = (
    select(events.c.version)
    .where(events.c.stream == bindparam("of"), events.c.offset < bindparam("before"))
    .order_by(events.c.version.desc())
    .limit(1)
)
_LAST_HASH = (
    select(events.c.hash)
    .where(events.c.topic == bindparam("of"), events.c.shard == bindparam("in_shard"), events.c.offset < bindparam("before"))
    .order_by(events.c.offset.desc())
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Questions:
    """What memory does not say: for which streams the version before, and for which partitions the hash before an offset."""

    streams: Mapping[str, tuple[Partition, int, int]]
    partitions: Mapping[Partition, int]


@dataclass(frozen=True, slots=True)
class Answers:
    """Last versions and hashes, as far as the audit index can tell."""

    versions: Mapping[str, int] = field(default_factory=dict)
    hashes: Mapping[Partition, str] = field(default_factory=dict)


class Continuity:
    """What one feed has seen last in each stream and partition."""

    def __init__(self) -> None:
        self._versions: OrderedDict[str, int] = OrderedDict()
        self._hashes: dict[Partition, str] = {}

    def questions(self, facts: Sequence[Fact]) -> Questions | None:
        """What has to be looked up before these facts can be checked; None if nothing."""
        streams: dict[str, tuple[Partition, int, int]] = {}
        partitions: dict[Partition, int] = {}
        seen: set[str] = set()
        for fact in facts:
            event, partition = fact.body, fact.position.partition
            if not isinstance(event, EventEnvelope):
                continue
            if partition not in self._hashes:
                partitions.setdefault(partition, fact.position.offset)
            if event.stream not in seen and event.stream not in self._versions and event.version > 1:
                streams[event.stream] = (partition, fact.position.offset, event.version)
            seen.add(event.stream)
        return Questions(streams, partitions) if streams or partitions else None

    def check(self, facts: Sequence[Fact], answers: Answers) -> None:
        """Mark every fact that does not follow from what came before it."""
        self._hashes.update(answers.hashes)
        self._versions.update(answers.versions)
        for fact in facts:
            event, partition = fact.body, fact.position.partition
            if isinstance(event, EventEnvelope):
                fact.flaw = self._flaw(event, partition)
                self._hashes[partition] = event.hash
                self._versions[event.stream] = event.version
                self._versions.move_to_end(event.stream)
        while len(self._versions) > _REMEMBERED_STREAMS:
            self._versions.popitem(last=False)

    def _flaw(self, event: EventEnvelope, partition: Partition) -> str | None:
        before = self._versions.get(event.stream, event.version - 1)
        if event.version != before + 1:
            return f"version {event.version} of {event.stream} follows version {before}"
        if event.previous_hash != self._hashes.get(partition, event.previous_hash):
            return f"the previous hash of version {event.version} of {event.stream} is not the hash of the event before it"
        if hash_of(event) != event.hash:
            return f"the hash of version {event.version} of {event.stream} does not fit its content"
        return None


def look_up(connection: Connection, questions: Questions) -> Answers:
    """Ask the audit index what came before."""
    reached = positions_of(connection, "events")
    asked = [(stream, version - 1) for stream, (_, _, version) in questions.streams.items()]
    there = set(_present(connection, asked))
    versions: dict[str, int] = {}
    for stream, (partition, offset, version) in questions.streams.items():
        if (stream, version - 1) in there:
            versions[stream] = version - 1
        elif reached.get(partition, 0) >= offset:
            versions[stream] = _last_version(connection, stream, offset)
    known = {p: offset for p, offset in questions.partitions.items() if reached.get(p, 0) >= offset}
    return Answers(versions, {p: _last_hash(connection, p, offset) for p, offset in known.items()})


def _present(connection: Connection, asked: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    if not asked:
        return []
    stream, version = events.c.stream, events.c.version
    wanted = select(stream, version).where(stream.in_({s for s, _ in asked}), version.in_({v for _, v in asked}))
    return [(row.stream, row.version) for row in connection.execute(wanted)]


def _last_version(connection: Connection, stream: str, offset: int) -> int:
    return connection.execute(_LAST_VERSION, {"of": stream, "before": offset}).scalar() or 0


def _last_hash(connection: Connection, partition: Partition, offset: int) -> str:
    asked = {"of": partition.topic, "in_shard": partition.shard, "before": offset}
    return connection.execute(_LAST_HASH, asked).scalar() or GENESIS

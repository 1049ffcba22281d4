"""How is a shard taken over? From its snapshots and everything the log has since, and only then may it be decided for.

1. note where every partition of the shard ends, records of undecided transactions included
2. read on from the snapshots' mark until the position is there: a predecessor's last transaction is decided by then, and what it
   committed is seen (HAZARDS D2); bounded in time
3. check while folding: versions without gaps, every hash, every link
"""

from asyncio import Event
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from commands.counters import Counters
from commands.deciders import TABLE
from commands.settle import StreamState
from commands.shard_state import ShardState
from commands.state_store import REMEMBERED, Mark, StateStore
from domain.identity import kind_of
from schemas.event_envelope import EventEnvelope, hash_of
from schemas.event_types import UnknownEvent, event_of
from schemas.log import EventReader, Feed, LogTruncated, Recorded, Undecodable
from schemas.outcome import Outcome
from schemas.position import Partition, Position
from schemas.topics import EVENT_TOPICS, OUTCOMES
from schemas.unserved import UnservedReason

READ = 500
SAVE_EVERY = 10_000
_WAIT_S = 0.05
_MARKERS = 2
"""Offsets an outcome takes at most: its own and its transaction's marker."""


class RecoveryFailed(Exception):
    """The shard cannot be served for this `reason`, told to people by the message; `at` is the position at fault."""

    def __init__(self, reason: UnservedReason, message: str, at: Position | None) -> None:
        super().__init__(message)
        self.reason, self.at = reason, at


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a recovery works with: `deadline` is in `monotonic` seconds; `stop` ends it early."""

    reader: EventReader
    counters: Counters
    monotonic: Callable[[], float]
    deadline: float
    stop: Event
    capacity: int


async def recover(shard: int, store: StateStore, work: Recovery) -> ShardState | None:
    """What the shard knows; None when it was told to stop before it knew all.

    Raises `RecoveryFailed`, `StateStoreFailed` or `LogUnavailable`.
    """
    try:
        return await _recovered(shard, store, work)
    except LogTruncated as truncated:
        raise RecoveryFailed("log_truncated", str(truncated), truncated.at) from truncated


async def _recovered(shard: int, store: StateStore, work: Recovery) -> ShardState | None:
    partitions = [Partition(topic, shard) for topic in (*EVENT_TOPICS, OUTCOMES)]
    mark = await store.mark()
    ends = await work.reader.ends(partitions)
    start = _start(mark, ends)
    state = ShardState(shard, Mark(start, mark.heads), work.capacity)
    feed = await work.reader.feed(start)
    try:
        if not await _catch_up(state, store, feed, ends, work):
            return None
    finally:
        await feed.close()
    work.counters.recoveries += 1
    return state


def _start(mark: Mark, ends: Mapping[Partition, int]) -> dict[Partition, int]:
    start = {partition: mark.positions.get(partition, 0) for partition in ends}
    for partition, offset in start.items():
        if offset > ends[partition]:
            where = f"{partition.topic}/{partition.shard}"
            message = f"{where} ends at {ends[partition]}; it was read up to {offset} before"
            raise LogTruncated(message, Position(*partition, ends[partition]))
        if partition.topic == OUTCOMES:
            start[partition] = max(offset, ends[partition] - _MARKERS * REMEMBERED)
    return start


async def _catch_up(state: ShardState, store: StateStore, feed: Feed, ends: Mapping[Partition, int], work: Recovery) -> bool:
    unsaved = 0
    while behind := [partition for partition, end in ends.items() if feed.positions[partition] < end]:
        if work.stop.is_set():
            return False
        if work.monotonic() > work.deadline:
            raise _too_slow(behind[0], feed, ends)
        records = await feed.read(READ, _WAIT_S)
        await _take_in(records, state, store, work.counters)
        state.replayed(feed.positions)
        unsaved += len(records)
        if unsaved >= SAVE_EVERY:
            await store.save(state.changes())
            state.saved()
            unsaved = 0
    state.replayed(feed.positions)
    return True


def _too_slow(partition: Partition, feed: Feed, ends: Mapping[Partition, int]) -> RecoveryFailed:
    at, end = feed.positions[partition], ends[partition]
    where = f"{partition.topic}/{partition.shard}"
    message = f"{where} was read up to {at} of {end} in the time allowed; is a transaction undecided there?"
    return RecoveryFailed("not_read_in_time", message, Position(*partition, at))


async def _take_in(records: Sequence[Recorded], state: ShardState, store: StateStore, counters: Counters) -> None:
    needs = state.needs([r.body.stream for r in records if isinstance(r.body, EventEnvelope)], ())
    if needs:
        state.admit(needs, await store.load(needs))
    for record in records:
        match record.body:
            case EventEnvelope() as event:
                _replay(record, event, state)
                counters.replayed_events += 1
            case Outcome() as outcome:
                state.replay_outcome(outcome)
                counters.replayed_outcomes += 1
            case Undecodable(reason=reason) if record.position.topic != OUTCOMES:
                message = f"the record at {record.position} is no event: {reason}"
                raise RecoveryFailed("not_an_event", message, record.position)
            case _:
                continue  # a damaged outcome is one that is not remembered


def _replay(record: Recorded, event: EventEnvelope, state: ShardState) -> None:
    at, stream = record.position, event.stream
    before = state.stream(stream)
    if event.version != before.version + 1:
        message = f"the event at {at} has version {event.version} of {stream}, which was at {before.version}"
        raise RecoveryFailed("version_gap", message, at)
    if event.previous_hash != state.head(at.topic) or hash_of(event) != event.hash:
        raise RecoveryFailed("hash_chain_broken", f"the event at {at} breaks the hash chain of {at.topic}/{at.shard}", at)
    try:
        after = TABLE[kind_of(stream)].decider.fold(before.state, [event_of(event)])
    except UnknownEvent as unknown:
        raise RecoveryFailed("unknown_event", f"the event at {at} cannot be read: {unknown}", at) from unknown
    except Exception as bug:  # whatever it is, the shard is not served and the position is named
        message = f"the event at {at} does not fit {stream}: {type(bug).__name__}"
        raise RecoveryFailed("event_does_not_fit", message, at) from bug
    state.replay_event(stream, StreamState(event.version, after), event.hash)

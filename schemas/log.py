"""The contract of the log: four ports, spoken of in envelopes, and one for finite records.

    CommandSender   puts commands on a lane
    Outcomes        says what became of a command
    OwnedShards     the single writer's view: take, commit, abandon
    EventReader     reads what is committed, from a position
    RecordSender    publishes run output and heartbeats, which are no events

Adapters: Kafka, SQLite, memory. `tests/contracts` holds one suite that all three pass; what the docstrings here promise, it
checks. Everything is a coroutine, so that a simulation can crash at every await.

    LogError
    ├── LogUnavailable     nothing was written; the same call may be made again
    ├── ResultUnknown      it may or may not have been written; the truth comes from the log
    ├── CommitAborted      nothing of this transaction is visible; abandon and take again
    ├── OwnershipLost      fenced, or in doubt: forget all state, take again and recover
    ├── LogTruncated       a position lies outside what the log holds: stop, never skip
    └── RecordTooLarge     the record exceeds the topic's limit; nothing was written
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from schemas.command_envelope import CommandEnvelope
from schemas.event_envelope import EventEnvelope
from schemas.heartbeat import Heartbeat
from schemas.outcome import Outcome
from schemas.position import Partition, Position
from schemas.quickly_made import quickly_made
from schemas.run_output import OutputChunk

NO_SHARDS: Set[int] = frozenset()
"""None at all."""


class LogError(Exception):
    """Anything the log could not do."""


class LogUnavailable(LogError):
    """Nothing was written; the same call may be made again."""


class ResultUnknown(LogError):
    """It may or may not have been written; the truth comes from the log."""


class CommitAborted(LogError):
    """Nothing of this transaction is visible; abandon and take again."""


class OwnershipLost(LogError):
    """Fenced, or the result of a commit is in doubt: forget all state, take again and recover."""


class LogTruncated(LogError):
    """A position lies outside what the log holds: stop, never skip. `at` is that position, where it is known."""

    def __init__(self, message: str, at: Position | None = None) -> None:
        super().__init__(message)
        self.at = at


class RecordTooLarge(LogError):
    """The record exceeds the topic's limit; nothing was written."""


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A record that is not what its topic holds: bytes that do not parse, missing headers, the wrong shard for its stream."""

    reason: str
    key: bytes
    value: bytes


@quickly_made
@dataclass(frozen=True, slots=True)
class Recorded:
    """A record as a feed hands it out: where it stands and what it says."""

    position: Position
    body: EventEnvelope | Outcome | OutputChunk | Heartbeat | CommandEnvelope | Undecodable


@quickly_made
@dataclass(frozen=True, slots=True)
class TakenCommand:
    """A command with its position; the position's topic is its lane."""

    position: Position
    body: CommandEnvelope | Undecodable


@dataclass(frozen=True, slots=True)
class Taken:
    """A bounded batch of commands, people's first, in the order they are to be decided.

    `shards` maps every shard owned right now to its tenure. A tenure that differs from the one seen before means that the
    shard was away in between: all state of it must be forgotten and recovered before the next decision.
    """

    shards: Mapping[int, int]
    commands: Sequence[TakenCommand]


class CommandSender(Protocol):
    """Puts commands on a lane: `commands.people` for people's actors, `commands.system` for ours."""

    async def send(self, command: CommandEnvelope) -> None:
        """Return once the log has the command durably.

        Raises `LogUnavailable` (not written), `ResultUnknown` (maybe written) or `RecordTooLarge`, within a stated bound.
        """
        ...


class Outcomes(Protocol):
    """Says what became of a command."""

    async def wait(self, command_id: UUID, within_s: float) -> Outcome | None:
        """The outcome as soon as it is known, or None after `within_s` seconds; may be called before or after `send`."""
        ...

    async def find(self, command_id: UUID) -> Outcome | None:
        """The outcome if it is remembered; the window is finite and stated by the adapter."""
        ...


class OwnedShards(Protocol):
    """The single writer's view of the shards this process owns.

    For every shard at most one process at a time gets a commit through; a zombie's commit raises `OwnershipLost` and nothing
    of it is ever visible to a reader. Usage: take → decide → commit, or abandon; one batch at a time, committed whole or in
    parts.
    """

    async def take(self, limit: int, within_s: float, without: Set[int] = NO_SHARDS) -> Taken:
        """Up to `limit` commands not yet committed, people's lane first; an empty batch after `within_s` seconds.

        Commands of the shards `without` stay where they are, however many: they hold up no others, fill nothing, and end no
        wait. A take without them in it hands them out in their order, from the committed position on.
        """
        ...

    async def commit(self, taken: Taken, events: Sequence[EventEnvelope], outcomes: Sequence[Outcome]) -> Sequence[Position]:
        """Append events and outcomes and mark the commands consumed, all or nothing; the events' positions in their order.

        `taken` is the batch, or the next commands of it under the same tenures; the rest is committed or abandoned after that.
        Raises `CommitAborted` or `OwnershipLost`; after the latter every tenure has ended.
        """
        ...

    async def abandon(self, taken: Taken) -> None:
        """Give back what is not committed of the batch: the next take hands it out again."""
        ...

    async def close(self) -> None:
        """Leave in order; owned shards pass to others at once."""
        ...


class Feed(Protocol):
    """A reader's place in some partitions; hands out committed records only, each partition in order."""

    @property
    def positions(self) -> Mapping[Partition, int]:
        """The next offset to read in each partition; it also passes records that are not for readers."""
        ...

    async def read(self, limit: int, within_s: float) -> Sequence[Recorded]:
        """Up to `limit` next records as soon as there is one, or none after `within_s` seconds. Raises `LogTruncated`."""
        ...

    async def close(self) -> None:
        """Release what the feed holds."""
        ...


class EventReader(Protocol):
    """Reads what is committed."""

    @property
    def shards(self) -> int:
        """The number of shards of this log, fixed when it was created."""
        ...

    async def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """The offset after the last record of each, *including* records of transactions still undecided.

        A feed whose position has reached this has seen everything that was committed, and everything that may yet be, before
        the call (HAZARDS D2).
        """
        ...

    async def feed(self, start: Mapping[Partition, int]) -> Feed:
        """A feed over these partitions from these offsets. A start before what a finite topic still holds begins there."""
        ...


class RecordSender(Protocol):
    """Publishes finite records that are no events."""

    async def publish(self, partition: Partition, records: Sequence[OutputChunk | Heartbeat]) -> int:
        """Append in order and durably; the offset after the last. Raises `LogUnavailable`, `ResultUnknown`, `RecordTooLarge`."""
        ...

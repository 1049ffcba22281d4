"""What does an owner keep on disk, so that a restart replays only what is new and memory does not grow with history?

The store is a disposable cache of the log: snapshots of streams, who lives unfinished with whom, the newest outcomes, and the
mark they were all taken at. It speaks of bytes only; `commands.state_form` says what they mean. Adapters: SQLite, memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from schemas.position import Partition

REMEMBERED = 100_000
"""How many of the newest outcomes a shard remembers: a command sent again after that many others is decided anew."""


class StateStoreFailed(Exception):
    """The store of a shard cannot be used; it is to be discarded and the shard recovered from the log."""


class StateStoreLost(Exception):
    """No store can be had for a shard, time and again: what the file system refuses, only a person or another process mends."""


class StateStoreInUse(Exception):
    """Another process has the store: two run under one instance's name."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a snapshot reaches: the next offset of each partition, and the hash of each event topic's last event."""

    positions: Mapping[Partition, int] = field(default_factory=dict)
    heads: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """A stream's version and state."""

    version: int
    state: bytes


@dataclass(frozen=True, slots=True)
class Needs:
    """What to look up: streams, the rosters of partition keys, outcomes by command id."""

    streams: Sequence[str] = ()
    rosters: Sequence[str] = ()
    outcomes: Sequence[UUID] = ()

    def __bool__(self) -> bool:
        return bool(self.streams or self.rosters or self.outcomes)


@dataclass(frozen=True, slots=True)
class Found:
    """What the store has of it; what it does not have is left out."""

    streams: Mapping[str, Kept] = field(default_factory=dict)
    rosters: Mapping[str, bytes] = field(default_factory=dict)
    outcomes: Mapping[UUID, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changes:
    """What is new since the last save, in the order it became so, and the mark it reaches to."""

    streams: Mapping[str, Kept]
    rosters: Mapping[str, bytes]
    outcomes: Mapping[UUID, bytes]
    mark: Mark


class StateStore(Protocol):
    """The snapshots of one shard. Only what is committed in the log may be saved. Calls raise `StateStoreFailed`."""

    async def mark(self) -> Mark:
        """How far the snapshots reach; an empty mark when there are none."""
        ...

    async def load(self, needs: Needs) -> Found:
        """Look up what is needed."""
        ...

    async def save(self, changes: Changes) -> None:
        """Keep the changes and their mark, all or nothing; outcomes beyond the window are forgotten, the oldest first."""
        ...

    async def discard(self) -> None:
        """Throw everything away; the store is empty and usable afterwards."""
        ...

    async def close(self) -> None:
        """Release what the store holds; its content stays."""
        ...


class StateStores(Protocol):
    """Opens the store of a shard."""

    async def open(self, shard: int) -> StateStore:
        """The shard's store. One that is corrupt, or of another version of the software, is thrown away and begun anew.

        Raises `StateStoreInUse`, or `StateStoreFailed` when not even an empty one can be had.
        """
        ...

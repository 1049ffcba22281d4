"""What is told of a shard that its owner holds and cannot serve? No names: health and metrics are open to all."""

from dataclasses import dataclass
from typing import Literal

from schemas.position import Position

UnservedReason = Literal[
    "not_an_event",
    "unknown_event",
    "event_does_not_fit",
    "version_gap",
    "hash_chain_broken",
    "log_truncated",
    "log_unavailable",
    "not_read_in_time",
]
"""Why a shard cannot be recovered; docs/how-to/serve-a-shard-again.md says what to do about each."""


@dataclass(frozen=True, slots=True)
class UnservedShard:
    """A shard whose commands wait undecided: why, and at which position of the log, where one is at fault."""

    shard: int
    reason: UnservedReason
    stopped_at: Position | None

    def shown(self) -> dict[str, int | str | None]:
        """As health shows it."""
        return {
            "shard": self.shard,
            "stopped_at": None if self.stopped_at is None else str(self.stopped_at),
            "reason": self.reason,
        }

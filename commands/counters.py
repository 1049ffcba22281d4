"""How is the owner doing? Plain numbers that only grow; telemetry reads them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from commands.settle import Settled
from schemas.outcome import Rejected


@dataclass(slots=True)
class Counters:
    """What one owner has done since it started.

    `rejected` counts by code, `sizes` transactions by their number of commands rounded up to a power of two.
    """

    accepted: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    events: int = 0
    transactions: int = 0
    sizes: Counter[int] = field(default_factory=Counter)
    aborted: int = 0
    unavailable: int = 0
    ownership_lost: int = 0
    store_failures: int = 0
    recoveries: int = 0
    replayed_events: int = 0
    replayed_outcomes: int = 0
    saves: int = 0

    def committed(self, settled: Iterable[Settled]) -> None:
        """Count a transaction that is in the log."""
        commands = 0
        for one in settled:
            commands += 1
            self.events += len(one.events)
            if one.repeated:
                self.duplicates += 1
            elif isinstance(one.outcome.result, Rejected):
                self.rejected[one.outcome.result.code] += 1
            else:
                self.accepted += 1
        self.transactions += 1
        self.sizes[1 << (commands - 1).bit_length() if commands else 0] += 1

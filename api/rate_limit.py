"""How many requests may an account send, and an address that nobody has signed in from?

A bucket a name holds the requests of a minute and fills evenly: so many may come at once, and on the long run no more than the
rate. A bucket is one number, when it will be full again; a request puts that off, and is refused when it would be more than a
minute ahead. What is refused costs nothing: who goes on too fast is served at the rate, not shut out.
"""

from collections.abc import Callable, Mapping
from typing import Literal

Kind = Literal["account_reads", "account_writes", "address_reads", "address_writes"]
Key = tuple[Kind, str]

MOST_NAMES = 50_000
"""Buckets kept a kind; of more, those that were touched longest ago are forgotten, which means full."""

_FULL_S = 60.0
_ROUNDING_S = 1e-6
_FORGOTTEN_S = 60.0
_OWED_S = 60.0


class Buckets:
    """The buckets of one process. `per_minute` is the rate of each kind, 0 for none; `seconds` a clock that never goes back."""

    def __init__(self, per_minute: Mapping[Kind, int], seconds: Callable[[], float]) -> None:
        self._apart = {kind: _FULL_S / rate for kind, rate in per_minute.items() if rate}
        self._seconds = seconds
        self._full_at: dict[Kind, dict[str, float]] = {kind: {} for kind in self._apart}

    def take(self, kind: Kind, name: str) -> float:
        """Take one request out of a bucket: 0, or in how many seconds there will be one."""
        apart = self._apart.get(kind)
        if apart is None:
            return 0.0
        now, kept = self._seconds(), self._full_at[kind]
        full_at = max(kept.pop(name, now), now)
        late = full_at + apart - now - _FULL_S
        self._keep(kept, name, full_at if late > _ROUNDING_S else full_at + apart)
        return late if late > _ROUNDING_S else 0.0

    def _keep(self, kept: dict[str, float], name: str, full_at: float) -> None:
        kept[name] = full_at
        if len(kept) > MOST_NAMES:
            del kept[next(iter(kept))]


class SharedBuckets(Buckets):
    """The buckets of one of several processes that tell each other, now and then, how many requests they let through.

    Between two exchanges each process knows its own only; whoever cannot be reached is not waited for.
    """

    def __init__(self, per_minute: Mapping[Kind, int], seconds: Callable[[], float]) -> None:
        super().__init__(per_minute, seconds)
        self._untold: dict[Key, int] = {}
        self._heard: dict[Key, tuple[int, float, float]] = {}

    def take(self, kind: Kind, name: str) -> float:
        """Take one request out of a bucket: 0, or in how many seconds there will be one."""
        wait = super().take(kind, name)
        if not wait and kind in self._apart and len(self._untold) < MOST_NAMES:
            self._untold[kind, name] = self._untold.get((kind, name), 0) + 1
        return wait

    def untold(self) -> dict[Key, int]:
        """How many requests each bucket let through since this was last asked."""
        told, self._untold = self._untold, {}
        return told

    def heard(self, key: Key, total: int) -> None:
        """All processes together have let `total` through, ever since somebody began to count.

        The bucket is at least as empty as it was when this was last heard, less what all took since; what they took too much it
        owes, for a minute at the most. A total never heard before, or not for a minute, or one that was lost, says nothing yet.
        """
        kind, name = key
        kept, now = self._full_at[kind], self._seconds()
        before, full_then, then = self._heard.pop(key, (total, now, now))
        if now - then < _FORGOTTEN_S and total >= before:
            full_at = full_then + (total - before) * self._apart[kind]
            self._keep(kept, name, min(max(kept.pop(name, now), full_at, now), now + _FULL_S + _OWED_S))
        self._heard[key] = (total, max(kept.get(name, now), now), now)
        if len(self._heard) > MOST_NAMES:
            del self._heard[next(iter(self._heard))]

"""What did clients do, when, and what were they told?

Times are seconds of one monotonic clock, that of the process all clients run in. There are three results (DESIGN §8): ok, failed
(rejected, or certainly not written), and unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from math import inf
from typing import Any
from uuid import UUID

from schemas.outcome import Rejected


class Said(Enum):
    """What one answer says about its command."""

    OK = "ok"
    REJECTED = "rejected"
    NOTHING_WRITTEN = "nothing written"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One time a command was sent or asked about. `how` is what the answer was, for people; `correlation` is the id under which
    it was sent, and no other try was.
    """

    began: float
    ended: float
    said: Said
    how: str
    version: int | None = None
    rejected: Rejected | None = None
    asked: bool = False
    correlation: str = ""


@dataclass(slots=True, kw_only=True)
class Write:
    """One command, however often it was sent under its key."""

    client: int
    stream: str
    command_id: UUID
    kind: str
    expected: int | None
    tries: list[Try] = field(default_factory=list)

    @property
    def invoked(self) -> float:
        """When it was sent first."""
        return self.tries[0].began

    @property
    def definite(self) -> Sequence[Try]:
        """The answers that say what became of it."""
        return [one for one in self.tries if one.said in (Said.OK, Said.REJECTED)]

    @property
    def returned(self) -> float:
        """When its client first knew what became of it; infinity while nobody knows."""
        return min((one.ended for one in self.definite), default=inf)

    @property
    def said(self) -> Said:
        """What is known of it: nothing is written only when no try may have written it."""
        if self.definite:
            return self.definite[0].said
        sent = [one for one in self.tries if not one.asked]
        return Said.NOTHING_WRITTEN if all(one.said is Said.NOTHING_WRITTEN for one in sent) else Said.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One answered read of one stream. `version` is 0 where there was nothing; `at_least` is the Ops-Min-Version asked for."""

    client: int
    stream: str
    began: float
    ended: float
    version: int
    body: Mapping[str, Any]
    at_least: int | None


@dataclass(slots=True)
class History:
    """Everything that all clients wrote down. `unforeseen` are answers that no fault excuses; `sign_ins` are the correlation
    ids of every time one signed in.
    """

    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    refused_reads: int = 0
    unforeseen: list[str] = field(default_factory=list)
    sign_ins: list[str] = field(default_factory=list)

    @property
    def stalls(self) -> list[tuple[float, float]]:
        """The times without an answered write, in seconds, and when each began; the longest first."""
        answered = sorted({one.ended for write in self.writes for one in write.tries if one.said in (Said.OK, Said.REJECTED)})
        gaps = ((after - before, before) for before, after in pairwise(answered))
        return sorted(gaps, reverse=True) or [(0.0, 0.0)]

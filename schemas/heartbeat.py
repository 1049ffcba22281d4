"""Is an executor alive? Heartbeats are finite records, never events."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """One sign of life of one executor process; `leaving` is its last one, sent on an orderly stop.

    The sweeper writes some in its own name, which nobody waits for: to see whether a partition takes them.
    `time` is the executor's and only for people: leases are judged by the sweeper's own monotonic clock.
    """

    executor: str
    time: datetime
    running: int
    leaving: bool = False

"""Which claims are over? Those of executors that have been silent for a lease, by this sweeper's own monotonic clock.

An executor nobody has heard of counts from the moment the sweeper began to listen; one that said it leaves has left. Only time in
which the sweeper could hear counts: after a pause of its own, or a log it could not read, every silence begins anew. Nor is a
silence one while the log can be read and takes no writes (too few replicas in sync, a full disk): who could not speak must have
had half a lease for it since. So the sweeper itself writes to the partitions of executors that have been silent for some time,
until that is shown; nobody else may be left to write there. Several sweepers do no harm: an expiry's command id is derived from
the run and the epoch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from domain.identity import RUN, stream_of
from domain.run.messages import ExpireClaim, RunClaimed
from processors.executor.inventory import UnfinishedRun
from processors.processor import Now, caused_by, system_command
from schemas.command_envelope import CommandEnvelope, system_command_id
from schemas.event_envelope import EventEnvelope
from schemas.heartbeat import Heartbeat
from schemas.partitioning import shard_of

ROLE = "sweeper"

SILENT_LEASES, SHOWN_LEASES = 0.4, 0.5
"""After which share of a lease a silence gives cause for writes of our own (an executor speaks five times a lease), and for how
long those must have been taken before it counts. Both together are less than a lease: with one of ten seconds or more the silence
of the dead ends hardly later."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A run held by an executor that is taken for lost."""

    run: str
    executor: str
    epoch: int


@dataclass(slots=True)
class _Written:
    """An unbroken row of writes that a partition took: when the first was answered, the last asked for, and answered."""

    first_answered: float
    last_asked: float
    last_answered: float


class LeaseWatch:
    """Who is alive, and who has left? Times are monotonic seconds of one clock; `shards` is the log's number of them."""

    def __init__(self, lease_s: float, shards: int, now: float) -> None:
        self._lease_s, self._shards = lease_s, shards
        self._listening_since = now
        self._listened_at = now
        self._heard: dict[str, float] = {}
        self._left: set[str] = set()
        self._written: dict[int, _Written] = {}

    def listened(self, now: float) -> None:
        """Every heartbeat that anybody had published by `now` has been told: a silence until then is one."""
        if now - self._listened_at > self._lease_s / 2:
            self._listening_since = now
        self._listened_at = now

    def heard(self, heartbeats: Iterable[Heartbeat], now: float) -> None:
        """These heartbeats have come."""
        for heartbeat in heartbeats:
            self._heard[heartbeat.executor] = now
            (self._left.add if heartbeat.leaving else self._left.discard)(heartbeat.executor)

    def written(self, shard: int, asked_at: float, now: float) -> None:
        """The partition of the heartbeats of `shard` took a write that was asked for at `asked_at`."""
        before = self._written.get(shard)
        if before is None or now - before.last_answered > self._lease_s / 2:
            self._written[shard] = _Written(now, asked_at, now)
        else:
            before.last_asked, before.last_answered = asked_at, now

    def refused(self, shard: int) -> None:
        """It did not, or nobody knows whether it did."""
        self._written.pop(shard, None)

    def to_write_to(self, runs: Sequence[UnfinishedRun]) -> list[int]:
        """The shards in which the holders of some of these runs have been silent for so long that it must be shown that they
        could have spoken."""
        silent = {e for e in self._holders(runs) if e not in self._left and self._silence_s(e) > SILENT_LEASES * self._lease_s}
        return sorted({self._shard_of(executor) for executor in silent})

    def spared(self, runs: Sequence[UnfinishedRun], longer_s: float) -> dict[int, float]:
        """The shards in which holders of some of these runs have been silent for a lease and `longer_s` and are not lost, since
        nothing shows that they could have spoken; with the longest silence in seconds."""
        spared: dict[int, float] = {}
        for executor in self._holders(runs):
            silence_s, shard = self._silence_s(executor), self._shard_of(executor)
            if silence_s > self._lease_s + longer_s and not self._is_lost(executor):
                spared[shard] = max(silence_s, spared.get(shard, 0.0))
        return dict(sorted(spared.items()))

    def over(self, runs: Sequence[UnfinishedRun]) -> list[Claim]:
        """The claims among these runs whose executor is lost, by what had been listened to when `listened` was called last."""
        self._forget_silent(runs)
        return [Claim(r.run, r.executor, r.epoch) for r in runs if r.executor is not None and self._is_lost(r.executor)]

    def is_over(self, claim: Claim) -> bool:
        """Whether the executor of this claim is lost still."""
        return self._is_lost(claim.executor)

    def _is_lost(self, executor: str) -> bool:
        return executor in self._left or (self._silence_s(executor) > self._lease_s and self._could_speak(executor))

    def _could_speak(self, executor: str) -> bool:
        """Whether the partition of its heartbeats took writes for long enough while it was silent."""
        written = self._written.get(self._shard_of(executor))
        if written is None:
            return False
        return written.last_asked - max(written.first_answered, self._silent_since(executor)) >= SHOWN_LEASES * self._lease_s

    def _silence_s(self, executor: str) -> float:
        return self._listened_at - self._silent_since(executor)

    def _silent_since(self, executor: str) -> float:
        return max(self._heard.get(executor, self._listening_since), self._listening_since)

    def _shard_of(self, executor: str) -> int:
        return shard_of(executor, self._shards)

    @staticmethod
    def _holders(runs: Sequence[UnfinishedRun]) -> set[str]:
        return {run.executor for run in runs if run.executor is not None}

    def _forget_silent(self, runs: Sequence[UnfinishedRun]) -> None:
        """Executors that hold nothing and have been silent for long are of no interest any more."""
        holding, now = self._holders(runs), self._listened_at
        for executor in [e for e, at in self._heard.items() if e not in holding and now - at > 10 * self._lease_s]:
            del self._heard[executor]
            self._left.discard(executor)


def expiry(claim: Claim, history: Sequence[EventEnvelope], now: Now) -> CommandEnvelope | None:
    """The command that ends `claim`; None while the run's history does not show it."""
    claimed = next((e for e in reversed(history) if e.type == RunClaimed.__name__), None)
    if claimed is None:
        return None
    command_id = system_command_id(ROLE, f"{claim.run} under {claim.epoch}", 0)
    command = ExpireClaim(claim.executor, claim.epoch)
    return system_command(ROLE, stream_of(RUN, claim.run), command, command_id, caused_by(claimed), now.wall)

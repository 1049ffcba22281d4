"""Which claims are over? Those of executors that have been silent for a lease, by this sweeper's own monotonic clock.

An executor nobody has heard of counts from the moment the sweeper began to listen; one that said it leaves has left. Only time in
which the sweeper could hear counts: after a pause of its own, or a log it could not read, every silence begins anew. Several
sweepers do no harm: an expiry's command id is derived from the run and the epoch.
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

ROLE = "sweeper"


@dataclass(frozen=True, slots=True)
class Claim:
    """A run held by an executor that is taken for lost."""

    run: str
    executor: str
    epoch: int


class LeaseWatch:
    """Who is alive, and who has left? Times are monotonic seconds of one clock."""

    def __init__(self, lease_s: float, now: float) -> None:
        self._lease_s = lease_s
        self._listening_since = now
        self._listened_at = now
        self._heard: dict[str, float] = {}
        self._left: set[str] = set()

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

    def over(self, runs: Sequence[UnfinishedRun]) -> list[Claim]:
        """The claims among these runs whose executor is lost, by what had been listened to when `listened` was called last."""
        self._forget_silent(runs)
        return [Claim(r.run, r.executor, r.epoch) for r in runs if r.executor is not None and self._is_lost(r.executor)]

    def is_over(self, claim: Claim) -> bool:
        """Whether the executor of this claim is lost still."""
        return self._is_lost(claim.executor)

    def _is_lost(self, executor: str) -> bool:
        since = max(self._heard.get(executor, self._listening_since), self._listening_since)
        return executor in self._left or self._listened_at - since > self._lease_s

    def _forget_silent(self, runs: Sequence[UnfinishedRun]) -> None:
        """Executors that hold nothing and have been silent for long are of no interest any more."""
        holding, now = {run.executor for run in runs}, self._listened_at
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

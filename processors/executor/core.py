"""What does an executor do about what happens? The pure core: it routes every input to the run it concerns and adopts new ones.

Runs become known by their events, or by the sweep of the read model when an event was lost, a partition moved or a process
restarted. A sweep adopts an unclaimed run only when it was unclaimed in the sweep before too: whoever sees its events goes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.identity import RUN, TARGET, kind_of, name_of, stream_of
from domain.target import TargetCheckRequested
from processors.executor.actions import (
    Action,
    Answered,
    AskFinal,
    CheckAbandoned,
    CheckDone,
    CheckTarget,
    ForgetRun,
    GraceOver,
    HistoryRead,
    Input,
    PlanFailed,
    ReadHistory,
    Seen,
    Send,
    StepDone,
    StepHeldBack,
    Stopping,
    Swept,
    TargetsFound,
    WaitedForFinal,
    Woke,
)
from processors.executor.held_run import ROLE, HeldRun, Terms
from processors.executor.inventory import UnfinishedRun
from processors.processor import Now, caused_by, system_command
from schemas.command_envelope import system_command_id
from schemas.event_envelope import EventEnvelope
from schemas.event_types import event_of

LEFT_ALONE_S = 10.0
"""How long a run that went to somebody else is not adopted again from a read model that may lag behind."""

CHECK_KNOWN_S = 300.0
"""How long a target check that no read model lists is remembered, so that an event that comes twice does it once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one executor takes on: runs it knows at a time, runs beside them that only wait for others, steps at a time.

    Runs that wait take no place of `runs`: else they would keep out the very run they wait for when its executor is lost.
    Between two sweeps there may be twice as many of them.
    """

    runs: int = 500
    waiting: int = 1_000
    steps: int = 1_000


@dataclass(frozen=True, slots=True)
class _Left:
    epoch: int
    until: float


class ExecutorCore:
    """All runs of one executor and the target checks under way."""

    def __init__(self, terms: Terms, limits: Limits) -> None:
        self._terms = terms
        self._limits = limits
        self._runs: dict[str, HeldRun] = {}
        self._adoptions = 0
        self._left: dict[str, _Left] = {}
        self._noticed: set[str] = set()
        self._waited: set[str] = set()
        self._checks: dict[tuple[str, str], float] = {}
        self._noticed_checks: set[tuple[str, str]] = set()
        self._stopping = False

    @property
    def running(self) -> int:
        """How many steps run here."""
        return sum(len(run.running) for run in self._runs.values())

    @property
    def is_idle(self) -> bool:
        """Whether no step runs here and nothing that ended here waits to be told."""
        return not any(run.has_something_to_tell for run in self._runs.values())

    def knows(self, event: EventEnvelope) -> bool:
        """Whether this event of a run held here has been taken in already, so that it would change nothing."""
        run = self._runs.get(name_of(event.stream)) if kind_of(event.stream) == RUN else None
        return run is not None and event.version <= run.version

    def wake_at(self) -> float | None:
        """The monotonic second at which something falls due."""
        return min((at for run in self._runs.values() if (at := run.wake_at()) is not None), default=None)

    def react(self, given: Input, now: Now) -> list[Action]:
        """What is to be done about `given`."""
        match given:
            case Seen(event):
                return self._seen(event, now)
            case Swept():
                return self._swept(given, now)
            case CheckDone():
                return [self._check_recorded(given, now)]
            case CheckAbandoned(target, check):
                self._checks.pop((target, check), None)
                return []
            case Woke() | Stopping() | GraceOver():
                return self._all(given, now)
        run = self._runs.get(given.run)
        return [] if run is None else self._routed(given, run, now) + self._moves(run, now)

    def _routed(
        self,
        given: HistoryRead | Answered | TargetsFound | PlanFailed | StepDone | StepHeldBack | WaitedForFinal,
        run: HeldRun,
        now: Now,
    ) -> list[Action]:
        match given:
            case HistoryRead(events=events):
                run.history(events, now)
            case Answered(command_id=command_id, result=result):
                return run.answered(command_id, result, now)
            case TargetsFound(epoch=epoch, targets=targets):
                run.targets_found(epoch, targets)
            case PlanFailed(epoch=epoch, error=error):
                run.plan_failed(epoch, error)
            case StepDone(epoch=epoch, end=end):
                run.step_done(epoch, end)
            case StepHeldBack(epoch=epoch, start=start):
                run.step_held_back(epoch, start)
            case WaitedForFinal():
                run.others_final()
        return []

    def _all(self, given: Woke | Stopping | GraceOver, now: Now) -> list[Action]:
        self._stopping = self._stopping or not isinstance(given, Woke)
        actions: list[Action] = []
        for run in list(self._runs.values()):
            if isinstance(given, GraceOver):
                actions += run.kill_for_stop()
            actions += self._moves(run, now)
        return actions

    def _moves(self, run: HeldRun, now: Now) -> list[Action]:
        actions = run.moves(now, self._limits.steps - self.running, self._stopping)
        return [*actions, *self._let_go(run, now)] if run.is_over else actions

    def _let_go(self, run: HeldRun, now: Now) -> list[Action]:
        del self._runs[run.run]
        self._left[run.run] = _Left(run.known_epoch, now.monotonic + LEFT_ALONE_S)
        return [ForgetRun(run.run)]

    # --- events -----------------------------------------------------------------------------------------------------

    def _seen(self, event: EventEnvelope, now: Now) -> list[Action]:
        if kind_of(event.stream) == TARGET:
            return self._check_seen(event, now)
        if kind_of(event.stream) != RUN:
            return []
        name = name_of(event.stream)
        actions = self._told_waiting(name, now) if event.type == "RunFinished" else []
        run = self._runs.get(name) or self._adopted_by(event)
        if run is None:
            return actions
        run.evolve(event, now)
        return actions + self._moves(run, now)

    def _adopted_by(self, event: EventEnvelope) -> HeldRun | None:
        """A run that asks for an executor: it was just requested, or its executor is lost."""
        if event.type not in ("RunRequested", "RunResumed") or self._is_full:
            return None
        self._left.pop(name_of(event.stream), None)
        return self._adopt(name_of(event.stream))

    def _adopt(self, name: str) -> HeldRun:
        self._adoptions += 1
        run = self._runs[name] = HeldRun(name, self._terms, self._adoptions)
        return run

    @property
    def _is_full(self) -> bool:
        return self._room <= 0

    @property
    def _room(self) -> int:
        """How many more runs may be adopted."""
        if self._stopping:
            return 0
        known, limits = len(self._runs), self._limits
        waiting = sum(run.only_waits for run in self._runs.values())
        return min(limits.runs - (known - waiting), limits.runs + 2 * limits.waiting - known)

    def _told_waiting(self, finished: str, now: Now) -> list[Action]:
        actions: list[Action] = []
        for run in list(self._runs.values()):
            if finished in run.waiting:
                run.waiting.discard(finished)
                actions += self._moves(run, now)
        return actions

    # --- the sweep --------------------------------------------------------------------------------------------------

    def _swept(self, swept: Swept, now: Now) -> list[Action]:
        listed = {entry.run: entry for entry in swept.runs}
        self._adopt_unclaimed(swept.runs, now)
        actions: list[Action] = []
        for run in list(self._runs.values()):
            entry = listed.get(run.run)
            if entry is not None:
                run.reread_if_changed(entry.version)
            elif run.version > 0:
                actions.append(ReadHistory(run.run))
            if run.waiting:
                actions.append(AskFinal(run.run, sorted(run.waiting)))
            actions += self._moves(run, now)
        actions += self._let_waiting_go(now)
        return actions + self._adopt_checks(swept.checks, now)

    def _adopt_unclaimed(self, entries: Sequence[UnfinishedRun], now: Now) -> None:
        self._left = {name: left for name, left in self._left.items() if left.until > now.monotonic}
        unclaimed = [e for e in entries if e.executor is None and e.run not in self._runs and not self._is_left(e)]
        noticed = [entry for entry in unclaimed if entry.run in self._noticed]
        for entry in noticed[: max(0, self._room)]:
            self._adopt(entry.run).reread_if_changed(entry.version)
        self._noticed = {entry.run for entry in unclaimed}

    def _let_waiting_go(self, now: Now) -> list[Action]:
        """Let go of those that have waited since the sweep before, beyond the limit; a later sweep brings them again.

        First goes what waits for a run that is known here, the latest of them: what is next is kept.
        """
        waiting = [run for run in self._runs.values() if run.only_waits]
        excess, before = len(waiting) - self._limits.waiting, self._waited
        self._waited = {run.run for run in waiting}
        if excess <= 0:
            return []
        asked = [run for run in reversed(waiting) if run.run in before]
        asked.sort(key=lambda run: self._runs.keys().isdisjoint(run.waiting))
        return [action for run in asked[:excess] for action in self._let_go(run, now)]

    def _is_left(self, entry: UnfinishedRun) -> bool:
        left = self._left.get(entry.run)
        return left is not None and entry.epoch <= left.epoch

    # --- target checks ----------------------------------------------------------------------------------------------

    def _check_seen(self, event: EventEnvelope, now: Now) -> list[Action]:
        if event.type != "TargetCheckRequested" or self._stopping:
            return []
        requested = event_of(event)
        assert isinstance(requested, TargetCheckRequested)
        return self._begin_check((name_of(event.stream), requested.check), event, now)

    def _begin_check(self, key: tuple[str, str], event: EventEnvelope | None, now: Now) -> list[Action]:
        if key in self._checks:
            return []
        self._checks[key] = now.monotonic
        return [CheckTarget(*key, event)]

    def _adopt_checks(self, checks: Sequence[tuple[str, str]], now: Now) -> list[Action]:
        noticed, self._noticed_checks = self._noticed_checks, set(checks)
        known = self._checks.items()
        self._checks = {key: at for key, at in known if key in self._noticed_checks or now.monotonic - at < CHECK_KNOWN_S}
        if self._stopping:
            return []
        return [action for key in checks if key in noticed for action in self._begin_check(key, None, now)]

    def _check_recorded(self, done: CheckDone, now: Now) -> Action:
        command_id = system_command_id(ROLE, f"{done.target} check {done.result.check}", 0)
        stream = stream_of(TARGET, done.target)
        return Send(system_command(ROLE, stream, done.result, command_id, caused_by(done.requested), now.wall))

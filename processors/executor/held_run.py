"""What does the executor do next for a run it knows?

One command is in flight a run. Order is the guarantee here:

1. claim (epoch n+1), 2. plan, in parts, 3. report again and again: what ended since the last report and what is to start next;
   a step starts only after the report with its `StepStart` was accepted under our own epoch ("intent before act").

The rules that decide are the run's own (`domain.run`), folded here in the same way as by the owner, so an accepted command gives
the next state at once. When somebody else's event came in between (the outcome shows it), the history is read anew first.
Losing the run (another epoch, or it is final) kills its steps here; what they came to is kept as a late report.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from domain.identity import RUN, stream_of
from domain.rejection import Rejection
from domain.run.decide import decide
from domain.run.messages import (
    ClaimRun,
    Command,
    Event,
    ExpireClaim,
    FailRun,
    Failure,
    PlannedTarget,
    PlanRun,
    RecordLateReport,
    ReportRun,
    RunPlanned,
    RunRequested,
    RunStarted,
    StepEnd,
    StepEndState,
    StepFinished,
    StepStart,
    SupersedeRun,
)
from domain.run.progress import conclusion, startable
from domain.run.state import Active, Final, Folding, Requested, RunState, Unknown, fold, position_of
from domain.run.step_failure import NEVER_SENT
from domain.run.why_ended import STEP_OVER_TIME
from processors.executor.actions import Action, FindTargets, KillSteps, ReadHistory, Send, StartStep
from processors.executor.plan_parts import parts_of
from processors.processor import Cause, Now, caused_by, system_command
from schemas.command_envelope import system_command_id
from schemas.event_envelope import EventEnvelope
from schemas.event_types import UnknownEvent, event_of
from schemas.outcome import Accepted, Rejected

ROLE = "executor"

MAX_ENTRIES = 500
"""The most entries of one report; keeps its payload and its transaction small."""

MAX_TROUBLE = 5
"""How many refusals in a row that our view of the run cannot explain, before the run is let go for others to take."""

FIRST_REREAD_S, LAST_REREAD_S = 0.1, 2.0
"""The pauses between looks at a read model that lags behind what is known already."""

GATHER_S = 0.02
"""How long the first that has ended waits for others to be told with it, as long as most of those that were started still run."""

LOST_CODES = frozenset({"stale_epoch", "run_claimed", "run_finished", "run_not_found"})
STOPPED = Failure("executor_stopped", "the executor was stopped while the step ran; it was killed")
NOT_KNOWN = Failure("result_unknown", "the step was started and what became of it is not known")


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which an executor works: its id, and the lease in seconds after which nothing old may be acted upon."""

    executor: str
    lease_s: float


@dataclass(frozen=True, slots=True)
class _Pending:
    command_id: UUID
    command: Command
    base: int
    events: tuple[Event, ...]
    asked_at: float


class HeldRun:
    """One run as this executor knows it. Methods return what is to be done; nothing here waits or reads a clock.

    `adoption` is another number each time the executor takes a run up. It keeps the ids of commands apart: an event that is
    brought again makes a run that is over be taken up anew, and its claim must not get the remembered answer of the first.
    """

    def __init__(self, run: str, terms: Terms, adoption: int) -> None:
        self.run = run
        self.stream = stream_of(RUN, run)
        self.state: RunState = Unknown()
        self.version = 0
        self.needed = 1
        self.epoch: int | None = None
        self.request: RunRequested | None = None
        self.waiting: set[str] = set()
        self.running: dict[str, tuple[int, StepStart]] = {}
        self.ended: list[StepEnd] = []
        self.late: int | None = None
        self.gone = False
        self._terms = terms
        self._adoption = adoption
        self._cause: Cause | None = None
        self._targets: dict[str, PlannedTarget] = {}
        self._pending: _Pending | None = None
        self._reading = False
        self._reread_at: float | None = None
        self._reread_pause = FIRST_REREAD_S
        self._finding = False
        self._parts: list[tuple[PlannedTarget, ...]] | None = None
        self._planned_parts = 0
        self._failure: Failure | None = None
        self._unconfirmed: list[StepStart] = []
        self._ready_at: dict[str, float] = {}
        self._tell_at: float | None = None
        self._deadline: float | None = None
        self._assumed_ending = False
        self._over_time = False
        self._stopping = self._grace_over = False
        self._killing = False
        self._superseded = False
        self._commands = 0
        self._trouble = 0
        self._doubt = False
        self._letting_go = False

    # --- what is so -------------------------------------------------------------------------------------------------

    @property
    def holds(self) -> bool:
        """Whether the run is ours, as far as is known."""
        return self.epoch is not None and self._claimed_by_us()

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do for this run here."""
        if self._pending or self._reading or self.running or self.ended or self.late is not None:
            return False
        if self.gone or isinstance(self.state, Final):
            return True
        claimed = isinstance(self.state, Requested | Active) and self.state.claim.executor is not None
        return self.version >= self.needed and claimed and not self.holds

    @property
    def only_waits(self) -> bool:
        """Whether nothing is done for this run before others are final."""
        return bool(self.waiting) and not (self.holds or self._pending or self._reading or self.is_reading_due)

    @property
    def has_something_to_tell(self) -> bool:
        """Whether a step runs here, or what became of one is not told yet."""
        telling = self._pending is not None and isinstance(self._pending.command, ReportRun | RecordLateReport)
        return bool(self.running or self.ended or self._unconfirmed or telling)

    @property
    def is_reading_due(self) -> bool:
        """Whether the known state lies behind what is known to exist."""
        return self._doubt or self.version < self.needed

    @property
    def known_epoch(self) -> int:
        """The highest epoch this executor has seen or asked for."""
        claimed = self.state.claim.epoch if isinstance(self.state, Requested | Active) else 0
        final = self.state.epoch if isinstance(self.state, Final) else 0
        return max(claimed, final, self.epoch or 0)

    def wake_at(self) -> float | None:
        """The monotonic second at which something falls due."""
        if self._pending or self._reading:
            return None
        if self.is_reading_due:
            return self._reread_at
        if not (self.holds and isinstance(self.state, Active)):
            return None
        times = [at for name, at in self._ready_at.items() if name in self.state.active]
        if self._deadline is not None and not self._is_ending():
            times.append(self._deadline)
        if self._tell_at is not None:
            times.append(self._tell_at)
        return min(times, default=None)

    def _is_ending(self) -> bool:
        return self._assumed_ending or self._over_time or (isinstance(self.state, Active) and bool(self.state.ending))

    def _claimed_by_us(self) -> bool:
        state = self.state
        mine = (self._terms.executor, self.epoch)
        return isinstance(state, Requested | Active) and (state.claim.executor, state.claim.epoch) == mine

    # --- what happened ----------------------------------------------------------------------------------------------

    def evolve(self, envelope: EventEnvelope, now: Now) -> None:
        """Take in the run's next event; others than the next are only noted."""
        if envelope.version <= self.version:
            return
        if envelope.version > self.version + 1:
            self.needed = max(self.needed, envelope.version)
            return
        try:
            event = event_of(envelope)
        except UnknownEvent:
            # A newer version of the software wrote it: the run is for executors that understand it.
            self.gone = True
            return
        if isinstance(event, RunRequested):
            self._cause = caused_by(envelope)
        elif self._cause:
            self._cause = replace(self._cause, event_id=envelope.event_id)
        self._take_in([event], max(0.0, (now.wall - envelope.time).total_seconds()), now)
        self.needed = max(self.needed, self.version)

    def _take_in(self, events: Iterable[Event], age_s: float, now: Now) -> None:
        folding = Folding(self.state)
        for event in events:
            folding.take(event)
            self.version += 1
            match event:
                case RunRequested():
                    self.request, self.waiting = event, set(event.waits_for)
                case RunPlanned():
                    kept = {} if event.part == 1 else self._targets
                    self._targets = {**kept, **{target.name: target for target in event.targets}}
                case RunStarted():
                    assert self.request
                    self._deadline = now.monotonic + self.request.rules.timeout_s - age_s
                case StepFinished(retry=True):
                    self._ready_at[event.target] = now.monotonic + self._backoff_of(event.step) - age_s
        self.state = folding.state

    def _backoff_of(self, step: str) -> float:
        assert self.request
        return next(rule.backoff_s for rule in self.request.rules.steps if rule.name == step)

    def history(self, events: Sequence[EventEnvelope] | None, now: Now) -> None:
        """Replace what is known by the whole history, unless it lies behind. One that nobody here waits for is only a look."""
        if not self._reading and (self._pending or not events or events[-1].version <= self.version):
            return
        self._reading = False
        if events is None or not events or events[-1].version < max(self.needed, self.version):
            self._reread_at = now.monotonic + self._reread_pause
            self._reread_pause = min(2 * self._reread_pause, LAST_REREAD_S)
            return
        self._reread_pause, self._reread_at, self._doubt = FIRST_REREAD_S, None, False
        self.state, self.version, self._targets, self._ready_at = Unknown(), 0, {}, {}
        for envelope in events:
            self.evolve(envelope, now)

    def reread_if_changed(self, version: int) -> None:
        """The read model knows the run at this version."""
        self.needed = max(self.needed, version)

    def others_final(self) -> None:
        """Every run that this one waits for is final."""
        self.waiting.clear()

    def targets_found(self, epoch: int, targets: Sequence[PlannedTarget]) -> None:
        """The plan's contents."""
        self._finding = False
        if epoch == self.epoch:
            self._parts = parts_of(targets)

    def plan_failed(self, epoch: int, error: Failure) -> None:
        """There can be no plan."""
        self._finding = False
        if epoch == self.epoch:
            self._failure = error

    def step_done(self, epoch: int, end: StepEnd) -> None:
        """A step ended here."""
        known = self.running.get(end.target)
        if known is None or known[0] != epoch or (known[1].step, known[1].attempt) != (end.step, end.attempt):
            return
        del self.running[end.target]
        if end.state == "cancelled" and self._over_time:
            end = replace(end, state="timed_out", error=STEP_OVER_TIME)
        elif end.state == "cancelled" and self._grace_over and not self._is_ending():
            end = replace(end, state="lost", error=STOPPED)
        if epoch in (self.epoch, self.late):
            self.ended.append(end)

    def step_held_back(self, epoch: int, start: StepStart) -> None:
        """A step was not started: too late, or since it was to be ended before. It may be after a fresh report is accepted."""
        if self.running.get(start.target) == (epoch, start):
            del self.running[start.target]
            if epoch == self.epoch:
                self._unconfirmed.append(start)
            elif epoch == self.late:
                self.ended.append(_never_sent(start))

    def kill_for_stop(self) -> list[Action]:
        """End what still runs: the executor stops."""
        self._grace_over = True
        return self._kill()

    def _kill(self) -> list[Action]:
        if self._killing or not self.running:
            return []
        self._killing = True
        return [KillSteps(self.run)]

    # --- answers ----------------------------------------------------------------------------------------------------

    def answered(self, command_id: UUID, result: Accepted | Rejected, now: Now) -> list[Action]:
        """The result of the command in flight."""
        pending = self._pending
        if pending is None or pending.command_id != command_id:
            return []
        self._pending = None
        if isinstance(result, Rejected):
            return self._rejected(pending, result.code, now)
        return self._accepted(pending, result, now)

    def _accepted(self, pending: _Pending, result: Accepted, now: Now) -> list[Action]:
        self._trouble = 0
        if result.version > self.version:
            base = result.version - len(result.event_ids)
            if base == pending.base and len(result.event_ids) == len(pending.events):
                self._take_in(pending.events[self.version - base :], 0.0, now)
            self.needed = max(self.needed, result.version)
        if self._cause and result.event_ids:
            self._cause = replace(self._cause, event_id=result.event_ids[-1])
        match pending.command:
            case ClaimRun(epoch=epoch):
                self.epoch, self._parts, self._planned_parts, self._failure, self._finding = epoch, None, 0, None, False
                self._assumed_ending = self._over_time = self._killing = False
            case PlanRun():
                self._planned_parts += 1
            case ReportRun():
                return self._confirmed(pending, now)
            case RecordLateReport(entries=entries):
                self._late_told(len(entries))
            case ExpireClaim():
                self.gone = True
        return []

    def _confirmed(self, pending: _Pending, now: Now) -> list[Action]:
        """A report under our epoch was accepted: its intents may be acted upon, unless that was a lease ago."""
        assert isinstance(pending.command, ReportRun)
        starts = [*self._unconfirmed, *(e for e in pending.command.entries if isinstance(e, StepStart))]
        self._unconfirmed = []
        if pending.command.epoch != self.epoch:
            return []
        valid_until = pending.asked_at + self._terms.lease_s
        if now.monotonic >= valid_until or self._is_ending() or self._stopping:
            self._unconfirmed = starts
            return []
        return [self._start(start, valid_until) for start in starts]

    def _start(self, start: StepStart, valid_until: float) -> Action:
        assert self.request and self.epoch is not None
        self.running[start.target] = (self.epoch, start)
        index = position_of(self.request.rules, start.step)
        assert index is not None
        target = self._targets[start.target]
        return StartStep(self.run, self.epoch, start, index, target, self.request, valid_until)

    def _rejected(self, pending: _Pending, code: str, now: Now) -> list[Action]:
        command = pending.command
        if isinstance(command, ReportRun):
            self.ended = [e for e in command.entries if isinstance(e, StepEnd)] + self.ended
        if isinstance(command, ClaimRun | ExpireClaim):
            self.gone = True
        elif isinstance(command, RecordLateReport):
            self._late_told(len(command.entries))
        elif code in LOST_CODES:
            return self._lose()
        elif code == "run_is_ending":
            self._assumed_ending = True
            return self._kill()
        else:
            return self._puzzled(now)
        return []

    def _late_told(self, entries: int) -> None:
        self.ended = self.ended[entries:]
        if not self.ended:
            self.late = None
            self.gone = not self._claimable()

    def _lose(self) -> list[Action]:
        """The run is not ours any more: nothing starts, what runs is killed, what it came to is told as a late report."""
        if self.epoch is not None:
            self.late, self.epoch = self.epoch, None
            self.ended += [_never_sent(start) for start in self._unconfirmed]
        self._parts, self._unconfirmed, self._deadline = None, [], None
        return self._kill()

    def _puzzled(self, now: Now) -> list[Action]:
        self._trouble += 1
        self._planned_parts = 0
        if self._trouble < MAX_TROUBLE:
            self._doubt, self._reread_at = True, now.monotonic + FIRST_REREAD_S * 2**self._trouble
            return []
        self._letting_go = True
        return self._kill()

    # --- next moves -------------------------------------------------------------------------------------------------

    def moves(self, now: Now, room: int, stopping: bool) -> list[Action]:
        """What to do next; `room` more steps may be started here, none and no claim when `stopping`."""
        self._stopping = stopping
        actions = self._noticed()
        self._ready_at = {name: at for name, at in self._ready_at.items() if at > now.monotonic}
        if self._pending or self._reading:
            return actions
        if self.late is not None and not (self.running or self.ended):
            self._late_told(0)
        if self.late is not None:
            return actions + ([] if self.running else self._late_moves(now))
        if self.gone:
            return actions
        if self._letting_go:
            return actions + self._letting_go_moves(now)
        if self.is_reading_due:
            return actions + self._reading_moves(now)
        if self._claimable():
            return actions + ([] if stopping else self._claim_moves(now))
        if self.holds and isinstance(self.state, Requested):
            return actions + self._plan_moves(now)
        if self.holds and isinstance(self.state, Active):
            return actions + self._report_moves(self.state, now, 0 if stopping else room)
        return actions

    def _noticed(self) -> list[Action]:
        """What the state says by itself: that the run is lost, or is being ended."""
        if self.epoch is not None and (self.gone or not (self.is_reading_due or self._claimed_by_us())):
            return self._lose()
        if self.holds and self._is_ending():
            return self._kill()
        return []

    def _claimable(self) -> bool:
        free = isinstance(self.state, Requested | Active) and self.state.claim.executor is None
        return free and not self.running and not self.ended and not self.gone

    def _late_moves(self, now: Now) -> list[Action]:
        assert self.late is not None
        ends = tuple(self.ended[:MAX_ENTRIES])
        return self._send(RecordLateReport(self._terms.executor, self.late, ends), (), now)

    def _letting_go_moves(self, now: Now) -> list[Action]:
        if self.running:
            return []
        self.ended, self._unconfirmed = [], []
        assert self.epoch is not None
        return self._send(ExpireClaim(self._terms.executor, self.epoch), (), now)

    def _reading_moves(self, now: Now) -> list[Action]:
        if self._reread_at is not None and now.monotonic < self._reread_at:
            return []
        self._reading = True
        return [ReadHistory(self.run)]

    def _claim_moves(self, now: Now) -> list[Action]:
        assert isinstance(self.state, Requested | Active) and self.request
        if self.waiting:
            return self._supersede(now) if self.request.replaces else []
        return self._decide(ClaimRun(self._terms.executor, self.state.claim.epoch + 1), now)

    def _supersede(self, now: Now) -> list[Action]:
        if self._superseded:
            return []
        self._superseded = True
        return [self._order(other, now) for other in sorted(self.waiting)]

    def _order(self, other: str, now: Now) -> Action:
        assert self._cause
        command_id = system_command_id(ROLE, f"{self.run} replaces {other}", 0)
        return Send(system_command(ROLE, stream_of(RUN, other), SupersedeRun(self.run), command_id, self._cause, now.wall))

    def _plan_moves(self, now: Now) -> list[Action]:
        assert isinstance(self.state, Requested) and self.request and self.epoch is not None
        if self._failure is not None:
            return self._decide(FailRun(self._terms.executor, self.epoch, self._failure), now)
        if self._parts is None:
            if self._finding:
                return []
            self._finding = True
            return [FindTargets(self.run, self.epoch, self.request)]
        part = self._planned_parts + 1
        return self._decide(PlanRun(self._terms.executor, self.epoch, part, len(self._parts), self._parts[part - 1]), now)

    def _report_moves(self, state: Active, now: Now, room: int) -> list[Action]:
        self._account_for(state)
        over_time = self._deadline is not None and now.monotonic >= self._deadline and not state.ending
        killed = self._end_over_time() if over_time else []
        if not over_time and self._gathers(now):
            return []
        ends = tuple(self.ended[:MAX_ENTRIES])
        starts: tuple[StepStart, ...] = ()
        if room > 0 and not self._is_ending():
            starts = self._starts(state, ends, min(room, MAX_ENTRIES))
        if not (ends or starts or over_time or self._unconfirmed or conclusion(state)):
            return killed
        assert self.epoch is not None
        report = ReportRun(self._terms.executor, self.epoch, (*ends, *starts), over_time)
        self.ended = self.ended[len(ends) :]
        return killed + self._decide(report, now)

    def _gathers(self, now: Now) -> bool:
        """Whether to wait for more steps to end: a report costs the same whether it tells of one end or of many."""
        few = 4 * len(self.ended) < len(self.running)
        if not self.ended or not few or self._unconfirmed or self._is_ending():
            self._tell_at = None
            return False
        if self._tell_at is None:
            self._tell_at = now.monotonic + GATHER_S
        if now.monotonic < self._tell_at:
            return True
        self._tell_at = None
        return False

    def _end_over_time(self) -> list[Action]:
        self._over_time = True
        return self._kill()

    def _account_for(self, state: Active) -> None:
        """Make what is known here fit the state: every running step is known, every end is of a running step."""
        running = {name: progress for name, progress in state.active.items() if progress.running}
        steps = state.rules.steps
        self.ended = [
            end
            for end in self.ended
            if (at := running.get(end.target)) and (steps[at.step].name, at.attempt) == (end.step, end.attempt)
        ]
        if self._is_ending():
            unbegun: StepEndState = "timed_out" if self._over_time else "cancelled"
            why = STEP_OVER_TIME if self._over_time else None
            self.ended += [StepEnd(s.step, s.target, s.attempt, unbegun, error=why) for s in self._unconfirmed]
            self._unconfirmed = []
        elif self._stopping:
            self.ended += [_never_sent(start) for start in self._unconfirmed]
            self._unconfirmed = []
        known = {*self.running, *(e.target for e in self.ended), *(s.target for s in self._unconfirmed)}
        for name in running.keys() - known:
            at = running[name]
            self.ended.append(StepEnd(steps[at.step].name, name, at.attempt, "lost", error=NOT_KNOWN))

    def _starts(self, state: Active, ends: tuple[StepEnd, ...], room: int) -> tuple[StepStart, ...]:
        after: RunState = state
        if ends:
            assert self.epoch is not None
            try:
                after = fold(state, list(decide(ReportRun(self._terms.executor, self.epoch, ends), state)))
            except Rejection:
                return ()
        if not isinstance(after, Active):
            return ()
        ready = [start for start in startable(after) if start.attempt == 1 or self._has_rested(start, ends)]
        return tuple(ready[:room])

    def _has_rested(self, start: StepStart, ends: tuple[StepEnd, ...]) -> bool:
        """Whether the back-off before a further attempt is over; it only begins with the end that is reported now."""
        if start.target in self._ready_at:
            return False
        return self._backoff_of(start.step) == 0 or all(end.target != start.target for end in ends)

    # --- commands ---------------------------------------------------------------------------------------------------

    def _decide(self, command: Command, now: Now) -> list[Action]:
        """Send `command`, having decided it as the owner will if nobody comes in between."""
        try:
            events = tuple(decide(command, self.state))
        except Rejection as rejection:
            foreseen = _Pending(UUID(int=0), command, self.version, (), now.monotonic)
            return self._rejected(foreseen, rejection.code, now)
        return self._send(command, events, now)

    def _send(self, command: Command, events: tuple[Event, ...], now: Now) -> list[Action]:
        assert self._cause
        self._commands += 1
        epoch = getattr(command, "epoch", 0)
        cause = f"{self.run} held by {self._terms.executor} under {epoch}, adopted {self._adoption}"
        command_id = system_command_id(ROLE, cause, self._commands)
        envelope = system_command(ROLE, self.stream, command, command_id, self._cause, now.wall)
        self._pending = _Pending(command_id, command, self.version, events, now.monotonic)
        return [Send(envelope, self.run)]


def _never_sent(start: StepStart) -> StepEnd:
    return StepEnd(start.step, start.target, start.attempt, "unreachable", error=NEVER_SENT)

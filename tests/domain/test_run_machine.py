"""Whatever executors, sweeper and people do to a run in whatever order: it keeps its promises and can be brought to an end."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain.decider import Companion
from domain.job.decide import JobDefined, JobState
from domain.job.decide import fold as fold_job
from domain.job.definition import CommandStep, JobDefinition, Retries, Strategy
from domain.rejection import Rejection
from domain.run.messages import (
    CancelRun,
    ClaimRun,
    ExpireClaim,
    FailRun,
    Failure,
    PlannedTarget,
    PlanRun,
    RecordLateReport,
    ReportRun,
    RequestRun,
    StepEnd,
    StepStart,
    SupersedeRun,
)
from domain.run.progress import startable
from domain.run.state import TRANSITIONS, Active, Requested, RunState, Unknown, fold, is_finished, visible
from domain.target import SshConnection
from schemas.event_types import TABLE as EVENTS
from schemas.payload import adapter, to_json
from tests.domain.run_witness import Witness
from tests.support.specification import decided

RUN = "run/j.018f4e5c-7a3b-7c1d-9e2f-0123456789ab"
ENDS = ("succeeded", "succeeded", "succeeded", "failed", "timed_out", "cancelled", "lost", "unreachable")
EXECUTORS = st.sampled_from(("e1", "e2"))
SELDOM = st.integers(0, 9)
SHARES = st.one_of(st.none(), st.integers(1, 4), st.sampled_from(("1%", "34%", "50%", "100%")))
FAILURES = st.one_of(st.none(), st.integers(0, 3), st.sampled_from(("0%", "25%", "100%")))
STEP = st.builds(
    CommandStep,
    name=st.just(""),
    run=st.just("true"),
    idempotent=st.booleans(),
    retries=st.builds(Retries, st.integers(0, 2)),
    on_failure=st.sampled_from(("stop", "continue")),
)
NAMES = ("a", "b", "c", "d", "e", "f")


@st.composite
def definitions(draw: st.DrawFn) -> JobDefinition:
    steps = draw(st.lists(STEP, min_size=1, max_size=3))
    named = tuple(
        CommandStep(name=f"s{n}", run=s.run, idempotent=s.idempotent, retries=s.retries, on_failure=s.on_failure)
        for n, s in enumerate(steps)
    )
    strategy = Strategy(draw(SHARES), draw(st.integers(1, 4)), draw(FAILURES))
    return JobDefinition(targets="a", steps=named, strategy=strategy, on_executor_loss=draw(st.sampled_from(("resume", "lose"))))


class RunMachine(RuleBasedStateMachine):
    """Random executors that hold or once held the run, a sweeper, a canceller."""

    def __init__(self) -> None:
        super().__init__()
        self.state: RunState = Unknown()
        self.events: list = []
        self.witness = Witness()
        self.targets: tuple[PlannedTarget, ...] = ()

    # --- how anything happens ---------------------------------------------------------------------------------------

    def told(self, command, companion=None) -> bool:
        """Whether the command was accepted."""
        try:
            events = decided(RUN, command, self.state, companion)
        except Rejection:
            return False
        for event in events:
            before, name = visible(self.state), type(event).__name__
            self.state = fold(self.state, [event])
            if name == "LateReportReceived":
                assert visible(self.state) == before
            else:
                assert visible(self.state) in TRANSITIONS[before, name], (before, name, visible(self.state))
            self.witness.sees(event)
            assert adapter(EVENTS[name][1]).validate_json(to_json(event)) == event
            self.events.append(event)
        return True

    @property
    def claim(self) -> tuple[str, int]:
        claim = self.state.claim if isinstance(self.state, Requested | Active) else None
        return (claim.executor or "e1", claim.epoch) if claim else ("e1", self.witness.epoch)

    # --- what may happen --------------------------------------------------------------------------------------------

    @initialize(definition=definitions(), count=st.integers(0, 6), duties=st.sampled_from((0, 1, 2, 2, 2, 3)))
    def request(self, definition, count, duties):
        job = fold_job(JobState(), [JobDefined("j", 1, definition)])
        self.targets = tuple(PlannedTarget(name, 1, name, {}, SshConnection("c")) for name in NAMES[:count])
        assert self.told(RequestRun("j", 1, {}), Companion(job))
        for _ in range(duties):
            if not is_finished(self.state):
                self.does_its_duty()

    @rule(executor=EXECUTORS, ahead=st.sampled_from((1, 1, 1, 0, 2)))
    def executor_claims(self, executor, ahead):
        self.told(ClaimRun(executor, self.claim[1] + ahead))

    @rule(parts=st.integers(1, 3), part=st.integers(1, 3), older=st.sampled_from((0, 0, 0, 1)))
    def executor_plans_a_part(self, parts, part, older):
        executor, epoch = self.claim
        size = -(-len(self.targets) // parts)
        self.told(PlanRun(executor, epoch - older, part, parts, self.targets[(part - 1) * size : part * size]))

    @rule(parts=st.integers(1, 2), part=st.integers(1, 2), names=st.lists(st.sampled_from(NAMES), max_size=3))
    def executor_plans_anything(self, parts, part, names):
        chosen = tuple(PlannedTarget(name, 1, name, {}, SshConnection("c")) for name in names)
        if self.told(PlanRun(*self.claim, part, parts, chosen)):
            self.targets = chosen

    @rule()
    def executor_plans_all(self):
        executor, epoch = self.claim
        self.told(PlanRun(executor, epoch, 1, 1, self.targets))

    @rule(data=st.data(), rounds=st.integers(1, 4))
    def executor_works(self, data, rounds):
        for _ in range(rounds):
            if is_finished(self.state):
                return
            if not isinstance(self.state, Active) or self.state.claim.executor is None:
                self.does_its_duty()
                continue
            ends = self.drawn_ends(data)
            assert self.told(ReportRun(*self.claim, ends)), "what ended can always be reported"
            if isinstance(self.state, Active):
                starts = startable(self.state)
                begun = starts[: data.draw(st.integers(0, len(starts)))]
                assert self.told(ReportRun(*self.claim, tuple(begun))), "what may start, or the first of it, is accepted"

    @rule(data=st.data(), timed_out=st.sampled_from((False, False, False, True)), older=st.sampled_from((0, 0, 0, 1)))
    def executor_reports(self, data, timed_out, older):
        if not isinstance(self.state, Active):
            return
        ends, starts = self.drawn_ends(data), tuple(startable(self.state))
        executor, epoch = self.claim
        honest = older == 0 and self.state.claim.executor is not None
        accepted = self.told(ReportRun(executor, epoch - older, (*ends, *starts), timed_out))
        assert not accepted or honest, "only the holder reports"

    def drawn_ends(self, data) -> tuple[StepEnd, ...]:
        running = self.state.running
        return tuple(self.drawn_end(data, name) for name in running if data.draw(st.booleans()))

    def drawn_end(self, data, name: str) -> StepEnd:
        progress = self.state.active[name]
        return StepEnd(self.state.rules.steps[progress.step].name, name, progress.attempt, data.draw(st.sampled_from(ENDS)))

    @rule(
        entries=st.lists(
            st.one_of(
                st.builds(StepStart, st.sampled_from(("s0", "s1", "x")), st.sampled_from(NAMES), st.integers(1, 2)),
                st.builds(
                    StepEnd, st.sampled_from(("s0", "s1")), st.sampled_from(NAMES), st.integers(1, 2), st.sampled_from(ENDS)
                ),
            ),
            max_size=3,
        )
    )
    def executor_reports_anything(self, entries):
        self.told(ReportRun(*self.claim, tuple(entries)))

    @rule(which=st.integers(0, 6))
    def executor_starts_whether_it_may_or_not(self, which):
        if isinstance(self.state, Active):
            state = self.state
            waiting = [
                StepStart(state.rules.steps[p.step].name, name, p.attempt) for name, p in state.active.items() if not p.running
            ]
            entries = waiting + [StepStart("s0", name, 1) for name in state.order[state.begun :]]
            self.told(ReportRun(*self.claim, tuple(entries[:which])))

    @rule(one=SELDOM)
    def executor_cannot_plan(self, one):
        if one < 2:
            self.told(FailRun(*self.claim, Failure("x", "x")))

    @rule(older=st.sampled_from((0, 0, 1)), one=SELDOM)
    def sweeper_expires(self, older, one):
        executor, epoch = self.claim
        self.told(ExpireClaim("e2" if one == 0 else executor, epoch - older))

    @rule(one=SELDOM)
    def somebody_cancels(self, one):
        if one < 4:
            self.told(CancelRun("enough") if one else SupersedeRun("later"))

    @rule(executor=EXECUTORS, epoch=st.integers(0, 3))
    def executor_reports_late(self, executor, epoch):
        self.told(RecordLateReport(executor, epoch, (StepEnd("s0", "a", 1, "succeeded"),)))

    # --- what always holds ------------------------------------------------------------------------------------------

    @invariant()
    def the_state_is_the_fold_of_all_events(self):
        assert fold(Unknown(), self.events) == self.state

    @invariant()
    def the_state_can_be_kept_and_read_again(self):
        kind = adapter(RunState)
        again = kind.validate_json(kind.dump_json(self.state))
        assert again == self.state
        if isinstance(self.state, Active):
            assert list(again.active) == list(self.state.active), "what may start next depends on the order"
            assert startable(again) == startable(self.state)

    @invariant()
    def what_may_start_is_what_is_accepted(self):
        if isinstance(self.state, Active) and self.state.claim.executor:
            report = ReportRun(*self.claim, tuple(startable(self.state)))
            decided(RUN, report, self.state)

    @invariant()
    def what_may_not_start_is_refused(self):
        if not isinstance(self.state, Active) or self.state.claim.executor is None:
            return
        state, allowed = self.state, startable(self.state)
        waiting = [
            StepStart(state.rules.steps[p.step].name, name, p.attempt) for name, p in state.active.items() if not p.running
        ]
        rest = [StepStart("s0", name, 1) for name in state.order[state.begun :]]
        for entry in waiting + rest:
            alone = entry in allowed and (entry in waiting or entry == rest[0])
            assert self.would_accept(ReportRun(*self.claim, (entry,))) is alone, entry

    @invariant()
    def no_plan_repeats_a_target_or_mixes_two_holders(self):
        if isinstance(self.state, Requested) and self.state.claim.executor is not None:
            one = PlannedTarget("z", 1, "z", {}, SshConnection("c"))
            assert not self.would_accept(PlanRun(*self.claim, 1, 1, (one, one)))
            begun = self.state.parts > 0 and self.witness.planned_under == self.claim[1]
            assert self.would_accept(PlanRun(*self.claim, self.state.parts + 1, self.state.parts + 2, (one,)))
            assert self.would_accept(PlanRun(*self.claim, 2, 2, (one,))) is (begun and self.state.parts == 1)

    def would_accept(self, command) -> bool:
        try:
            decided(RUN, command, self.state)
        except Rejection:
            return False
        return True

    def teardown(self):
        """Whatever happened: an executor that does its duty brings the run to its end."""
        if isinstance(self.state, Unknown):
            return
        for _ in range(200):
            if is_finished(self.state):
                break
            self.does_its_duty()
        assert is_finished(self.state), f"still {self.state}"
        assert not any(self.told(command) for command in (CancelRun(), ClaimRun("e1", 99), ReportRun("e1", self.witness.epoch)))
        assert fold(Unknown(), self.events) == self.state
        assert self.witness.finished

    def does_its_duty(self):
        state = self.state
        if state.claim.executor is None:
            assert self.told(ClaimRun("e3", state.claim.epoch + 1))
        elif isinstance(state, Requested):
            assert self.told(PlanRun(*self.claim, 1, 1, self.targets))
        elif state.running:
            ends = [
                StepEnd(state.rules.steps[p.step].name, name, p.attempt, "succeeded")
                for name, p in state.active.items()
                if p.running
            ]
            assert self.told(ReportRun(*self.claim, tuple(ends)))
        else:
            starts = startable(state)
            assert starts, f"nothing runs, nothing may start, and it is not over: {state}"
            assert self.told(ReportRun(*self.claim, tuple(starts)))


TestRun = RunMachine.TestCase
TestRun.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)

"""What the executor's core does with one run: given what happened, which commands and work follow."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest

from domain.identity import RUN, stream_of
from domain.job.definition import Strategy
from domain.run.messages import (
    ClaimRun,
    ExpireClaim,
    LateReportReceived,
    PlannedTarget,
    PlanRun,
    RecordLateReport,
    ReportRun,
    RunCancelRequested,
    RunClaimed,
    RunPlanned,
    RunRequested,
    RunResumed,
    RunRules,
    RunStarted,
    StepEnd,
    StepRule,
    StepStart,
    StepStarted,
)
from domain.run.step_failure import NEVER_SENT
from domain.run.why_ended import STEP_OVER_TIME
from domain.target import SshConnection
from processors.executor.actions import (
    Answered,
    FindTargets,
    ForgetRun,
    GraceOver,
    HistoryRead,
    KillSteps,
    ReadHistory,
    Seen,
    Send,
    StartStep,
    StepDone,
    StepHeldBack,
    Stopping,
    Swept,
    TargetsFound,
    Woke,
)
from processors.executor.core import ExecutorCore, Limits
from processors.executor.held_run import GATHER_S, Terms
from processors.executor.inventory import UnfinishedRun
from processors.processor import Now
from schemas.actor import Actor
from schemas.command_types import TABLE
from schemas.event_envelope import EventEnvelope
from schemas.outcome import Accepted, Rejected
from schemas.payload import from_json, to_json
from tests.processors.fake_time import START
from tests.support.builders import run_of

RUN_ID = run_of()
ME = "executor-1"
EVENTS = UUID("00000000-0000-0000-0000-00000000000e")


def event_id(version: int) -> UUID:
    return uuid5(EVENTS, str(version))


def targets(count: int) -> tuple[PlannedTarget, ...]:
    return tuple(PlannedTarget(f"web-{n}", 1, "192.0.2.1", {}, SshConnection("key")) for n in range(count))


class Story:
    """A core and what it is told; the run's events are numbered as they come."""

    def __init__(self, targets: int = 2, parallelism: int = 10, on_loss: Any = "resume", **limits: int) -> None:
        self.core = ExecutorCore(Terms(ME, 15.0), Limits(**limits))
        self.count = targets
        rules = RunRules((StepRule("say"),), Strategy(parallelism=parallelism), 3_600, on_loss)
        self.requested = RunRequested("backup", 1, {}, "env=prod", "", rules, (), False)
        self.time = 0.0
        self.version = 0
        self.sent: list[Any] = []
        self.history: list[EventEnvelope] = []

    def tell(self, given: Any) -> list[Any]:
        actions = self.core.react(given, Now(self.time, START + timedelta(seconds=self.time)))
        self.sent += [action.command for action in actions if isinstance(action, Send)]
        return [self.plain(action) for action in actions]

    @staticmethod
    def plain(action: Any) -> Any:
        """A sent command as its payload: ids and envelopes do not matter in most stories."""
        if isinstance(action, Send):
            return from_json(TABLE[action.command.type].payload, action.command.payload)
        return action

    def happens(self, *events: Any) -> None:
        """Appended to the run's stream; nobody is told."""
        for event in events:
            self.version += 1
            self.history.append(
                EventEnvelope(
                    event_id=event_id(self.version),
                    type=type(event).__name__,
                    schema_version=1,
                    stream=stream_of(RUN, RUN_ID),
                    version=self.version,
                    payload=to_json(event),
                    actor=Actor("user", "alice"),
                    time=START + timedelta(seconds=self.time),
                    command_id=event_id(self.version),
                    correlation_id="c",
                    previous_hash="",
                    hash="",
                )
            )

    def seen(self, *events: Any) -> list[Any]:
        actions: list[Any] = []
        for event in events:
            self.happens(event)
            actions += self.tell(Seen(self.history[-1]))
        return actions

    def accepted(self, events: int) -> list[Any]:
        """The command in flight is accepted and caused so many events."""
        self.version += events
        ids = tuple(event_id(self.version - n) for n in reversed(range(events)))
        return self.tell(Answered(RUN_ID, self.sent[-1].command_id, Accepted(self.version, ids)))

    def rejected(self, code: str) -> list[Any]:
        return self.tell(Answered(RUN_ID, self.sent[-1].command_id, Rejected(code, "the test says so")))

    def claimed(self) -> "Story":
        assert self.seen(self.requested) == [ClaimRun(ME, 1)]
        assert self.accepted(1) == [FindTargets(RUN_ID, 1, self.requested)]
        return self

    def planned(self) -> "Story":
        self.claimed()
        assert self.tell(TargetsFound(RUN_ID, 1, targets(self.count))) == [PlanRun(ME, 1, 1, 1, targets(self.count))]
        self.first = self.accepted(1)
        return self

    def running(self) -> "Story":
        self.planned()
        starts = self.accepted(1 + self.count)
        assert [type(action) for action in starts] == [StartStep] * self.count
        return self


def starts(*names: str) -> tuple[StepStart, ...]:
    return tuple(StepStart("say", name, 1) for name in names)


def done(name: str) -> StepDone:
    return StepDone(RUN_ID, 1, StepEnd("say", name, 1, "succeeded", 0))


def test_an_intent_is_acted_upon_only_after_it_was_accepted():
    story = Story().planned()
    assert story.first == [ReportRun(ME, 1, starts("web-0", "web-1"))]
    assert story.tell(Woke()) == []
    began = story.accepted(3)
    assert [(a.start.target, a.epoch, a.valid_until) for a in began] == [("web-0", 1, 15.0), ("web-1", 1, 15.0)]


def test_the_next_report_tells_what_ended_and_starts_what_may_follow_and_only_one_is_in_flight():
    story = Story(targets=4, parallelism=2).planned()
    assert story.first == [ReportRun(ME, 1, starts("web-0", "web-1"))]
    story.accepted(3)
    (report,) = story.tell(done("web-0"))
    assert report == ReportRun(ME, 1, (done("web-0").end, *starts("web-2")))
    assert story.tell(done("web-1")) == []
    began, report = story.accepted(2)
    assert began.start.target == "web-2"
    assert report == ReportRun(ME, 1, (done("web-1").end, *starts("web-3")))


def test_the_first_of_many_to_end_waits_a_moment_for_others_to_be_told_with_it():
    story = Story(targets=10).running()
    assert story.tell(done("web-0")) == []
    assert story.core.wake_at() == GATHER_S
    assert story.tell(done("web-1")) == [ReportRun(ME, 1, (done("web-0").end, done("web-1").end))], "a quarter of what ran"
    assert story.tell(done("web-2")) == []
    assert story.accepted(2) == []
    story.time = 2 * GATHER_S
    assert story.tell(Woke()) == [ReportRun(ME, 1, (done("web-2").end,))]


def test_every_command_of_a_run_has_an_id_of_its_own_that_depends_on_nothing_but_what_was_said():
    first, second = Story().running(), Story().running()
    assert [c.command_id for c in first.sent] == [c.command_id for c in second.sent]
    assert len({c.command_id for c in first.sent}) == len(first.sent)
    assert [c.causation_id for c in first.sent] == [event_id(1), event_id(2), event_id(3)]


def test_an_event_brought_again_after_its_run_is_over_asks_under_a_new_id_and_not_for_the_answer_of_old():
    story = Story(targets=1).running()
    (last,) = story.tell(done("web-0"))
    assert isinstance(last, ReportRun)
    assert ForgetRun(RUN_ID) in story.accepted(2)
    first = story.sent[0]
    assert story.tell(Seen(story.history[0])) == [ClaimRun(ME, 1)]
    assert story.sent[-1].command_id != first.command_id
    assert story.rejected("run_finished") == [ForgetRun(RUN_ID)]


def test_an_acceptance_that_comes_a_lease_late_starts_nothing_before_a_fresh_report_is_accepted():
    story = Story().planned()
    story.time = 16.0
    assert story.accepted(3) == [ReportRun(ME, 1, ())]
    story.time = 16.1
    assert [action.start.target for action in story.accepted(0)] == ["web-0", "web-1"]


def test_a_step_that_was_held_back_starts_after_the_next_report():
    story = Story().running()
    story.time = 20.0
    assert story.tell(StepHeldBack(RUN_ID, 1, starts("web-0")[0])) == [ReportRun(ME, 1, ())]
    (began,) = story.accepted(0)
    assert (began.start.target, began.valid_until) == ("web-0", 35.0)


def never_sent(name: str) -> StepEnd:
    return StepEnd("say", name, 1, "unreachable", error=NEVER_SENT)


def test_an_executor_that_stops_tells_of_what_it_held_back_that_nothing_was_sent():
    story = Story().running()
    story.tell(Stopping())
    assert story.tell(GraceOver()) == [KillSteps(RUN_ID)]
    assert story.tell(StepHeldBack(RUN_ID, 1, starts("web-0")[0])) == [ReportRun(ME, 1, (never_sent("web-0"),))]
    assert not story.core.is_idle


def test_an_intent_that_is_accepted_after_an_executor_was_told_to_stop_is_not_acted_upon():
    story = Story().planned()
    assert story.tell(Stopping()) == []
    assert story.accepted(3) == [ReportRun(ME, 1, (never_sent("web-0"), never_sent("web-1")))]
    story.accepted(2)
    assert story.core.is_idle


def test_of_what_was_held_back_when_the_run_was_lost_it_is_told_late_that_nothing_was_sent():
    story = Story().running()
    assert story.tell(StepHeldBack(RUN_ID, 1, starts("web-0")[0])) == [ReportRun(ME, 1, ())]
    assert story.rejected("stale_epoch") == [KillSteps(RUN_ID)]
    late = RecordLateReport(ME, 1, (never_sent("web-0"), never_sent("web-1")))
    assert story.tell(StepHeldBack(RUN_ID, 1, starts("web-1")[0])) == [late]


def test_a_step_that_was_held_back_in_a_run_that_is_cancelled_is_cancelled():
    story = Story(targets=1).running()
    assert story.seen(RunCancelRequested("")) == [KillSteps(RUN_ID)]
    (report,) = story.tell(StepHeldBack(RUN_ID, 1, starts("web-0")[0]))
    assert report == ReportRun(ME, 1, (StepEnd("say", "web-0", 1, "cancelled"),))


def test_a_refused_epoch_kills_what_runs_and_tells_what_it_came_to_as_a_late_report():
    story = Story().running()
    assert story.tell(done("web-0")) == [ReportRun(ME, 1, (done("web-0").end,))]
    assert story.rejected("stale_epoch") == [KillSteps(RUN_ID)]
    cancelled = StepEnd("say", "web-1", 1, "cancelled")
    assert story.tell(StepDone(RUN_ID, 1, cancelled)) == [RecordLateReport(ME, 1, (done("web-0").end, cancelled))]
    assert [type(a).__name__ for a in story.accepted(1)] == ["ForgetRun"]


def test_intents_whose_epoch_was_refused_start_nothing():
    story = Story().planned()
    story.rejected("stale_epoch")
    assert story.core.running == 0


def test_an_expiry_seen_before_the_answer_starts_nothing_and_the_run_is_claimed_anew():
    story = Story().planned()
    events = [*full_history()[1:], resumed_at(7)]
    for envelope in events[:-1]:
        story.tell(Seen(envelope))
    assert story.tell(Seen(events[-1])) == []
    story.version = 3
    assert story.accepted(3) == [ClaimRun(ME, 2)]
    assert story.core.running == 0


def resumed_at(version: int) -> EventEnvelope:
    story = Story()
    story.version = version - 1
    story.happens(RunResumed(ME, 1))
    return story.history[0]


def test_a_run_that_is_ending_gets_its_report_again_without_starts():
    story = Story(targets=3, parallelism=2).planned()
    story.accepted(3)
    (report,) = story.tell(done("web-0"))
    assert report.entries == (done("web-0").end, *starts("web-2"))
    assert story.rejected("run_is_ending") == [KillSteps(RUN_ID), ReportRun(ME, 1, (done("web-0").end,))]


def test_a_lost_race_is_left_alone_though_the_read_model_still_shows_the_run_unclaimed():
    story = Story()
    story.seen(story.requested)
    assert [type(a).__name__ for a in story.rejected("run_claimed")] == ["ForgetRun"]
    for _ in range(3):
        assert story.tell(Swept([UnfinishedRun(RUN_ID, 1, None, 0)], [])) == []


def test_a_sweep_adopts_a_run_nobody_claimed_when_it_sees_it_a_second_time():
    story = Story()
    story.happens(story.requested)
    entry = UnfinishedRun(RUN_ID, 1, None, 0)
    assert story.tell(Swept([entry], [])) == []
    assert story.tell(Swept([entry], [])) == [ReadHistory(RUN_ID)]
    assert story.tell(HistoryRead(RUN_ID, story.history)) == [ClaimRun(ME, 1)]


def test_a_history_that_lags_behind_is_read_again_after_a_pause():
    story = Story()
    story.happens(story.requested)
    entry = UnfinishedRun(RUN_ID, 1, None, 0)
    story.tell(Swept([entry], []))
    story.tell(Swept([entry], []))
    assert story.tell(HistoryRead(RUN_ID, [])) == []
    assert story.core.wake_at() == pytest.approx(0.1)
    story.time = 0.1
    assert story.tell(Woke()) == [ReadHistory(RUN_ID)]


def test_an_event_of_somebody_else_in_between_makes_the_history_be_read_before_anything_else():
    story = Story()
    story.seen(story.requested)
    story.happens(LateReportReceived("executor-0", 0, ()))
    assert story.accepted(1) == [ReadHistory(RUN_ID)]


def test_a_cancel_seen_while_an_intent_is_in_flight_starts_nothing_when_it_is_accepted():
    story = Story().planned()
    cancelled = Story()
    cancelled.version = 6
    cancelled.happens(RunCancelRequested(""))
    for envelope in [*full_history()[1:], *cancelled.history]:
        assert story.tell(Seen(envelope)) == []
    story.version = 3
    (report,) = story.accepted(3)
    assert report == ReportRun(ME, 1, tuple(StepEnd("say", name, 1, "cancelled") for name in ("web-0", "web-1")))


def test_a_run_that_refuses_everything_is_let_go_for_others():
    story = Story().running()
    story.tell(done("web-0"))
    said: list[Any] = []
    for _ in range(5):
        said += story.rejected("internal_error")
        story.time += 10
        said += story.tell(Woke())
        said += story.tell(HistoryRead(RUN_ID, full_history()))
    assert KillSteps(RUN_ID) in said
    assert story.tell(StepDone(RUN_ID, 1, StepEnd("say", "web-1", 1, "cancelled"))) == [ExpireClaim(ME, 1)]


def full_history() -> list[EventEnvelope]:
    story = Story()
    story.happens(
        story.requested,
        RunClaimed(ME, 1),
        RunPlanned(1, 1, 1, ("say",), targets(2)),
        RunStarted(),
        StepStarted("say", "web-0", 1, 1),
        StepStarted("say", "web-1", 1, 1),
    )
    return story.history


def test_a_full_executor_claims_nothing_more_and_starts_no_more_steps_than_it_may():
    story = Story(targets=5, steps=3).planned()
    assert story.first == [ReportRun(ME, 1, starts("web-0", "web-1", "web-2"))]
    full = Story(runs=0)
    assert full.seen(full.requested) == []


def test_a_run_whose_time_is_over_kills_its_steps_and_says_so():
    story = Story().running()
    assert story.core.wake_at() == 3_600
    story.time = 3_600.0
    assert story.tell(Woke()) == [KillSteps(RUN_ID), ReportRun(ME, 1, (), timed_out=True)]
    story.accepted(1)
    (report,) = story.tell(StepDone(RUN_ID, 1, StepEnd("say", "web-0", 1, "cancelled")))
    assert report.entries == (StepEnd("say", "web-0", 1, "timed_out", error=STEP_OVER_TIME),)

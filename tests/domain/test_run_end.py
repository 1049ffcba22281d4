"""How does a run end: cancelled, over its time, or with its executor lost? And what of reports that come too late?"""

import pytest

from domain.run.executor_loss import LOST
from domain.run.messages import (
    CancelRun,
    ExpireClaim,
    Failure,
    LateReportReceived,
    RecordLateReport,
    RunCancelRequested,
    RunLost,
    RunResumed,
    RunTimeExceeded,
    StepRule,
    SupersedeRun,
)
from domain.run.progress import startable
from domain.run.step_failure import MAX_LOST_ATTEMPTS
from tests.domain.runs import (
    RUN,
    STARTED,
    claimed,
    end,
    ended,
    finished,
    planned,
    ready,
    report,
    requested,
    rules,
    start,
    started,
)
from tests.support.specification import folded, given

CANCEL = CancelRun("enough")
ASKED = RunCancelRequested("enough")
OVER = RunTimeExceeded()
LOSE = rules(lose=True)
RESUMED = RunResumed("e1", 1)
EXPIRE = ExpireClaim("e1", 1)
RUNNING = [*ready("a b c"), STARTED, started("a:one"), started("b:one"), ended("b:one")]


def lost(where, done="lost", attempt=1, epoch=1, retry=False):
    return ended(where, "lost", done, attempt, error=LOST, epoch=epoch, retry=retry)


# --- cancel ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [[requested()], [requested(), claimed()], [requested(), claimed(), RESUMED]])
def test_a_run_that_is_not_planned_is_cancelled_at_once(stage):
    given(RUN, stage).when(CANCEL).then([ASKED, finished("cancelled")])


def test_a_half_planned_run_counts_what_was_planned():
    half = [requested(), claimed(), planned("a b", part=1, parts=2)]
    given(RUN, half).when(CANCEL).then([ASKED, finished("cancelled", cancelled=2)])


def test_a_planned_run_is_cancelled_at_once():
    given(RUN, ready("a b")).when(CANCEL).then([ASKED, finished("cancelled", cancelled=2)])


def test_a_running_run_waits_for_its_steps_and_starts_none():
    asked = given(RUN, RUNNING).when(CANCEL).then([ASKED])
    assert startable(folded(RUN, asked)) == []
    given(RUN, asked).when(CancelRun("again")).then_nothing()
    given(RUN, asked).when(report(start("b:two"))).then_rejected("run_is_ending")
    given(RUN, asked).when(report(end("a:one"), start("a:two"))).then_rejected("run_is_ending")
    given(RUN, asked).when(report(end("a:one", "cancelled"))).then(
        [ended("a:one", "cancelled", "cancelled"), finished("cancelled", cancelled=3)]
    )


def test_what_had_succeeded_when_a_run_is_cancelled_stays_so():
    one = rules(StepRule("one"))
    history = [*ready("a b c", one), STARTED, started("a:one"), ended("a:one", done="succeeded"), started("b:one"), ASKED]
    given(RUN, history).when(report(end("b:one", "failed"))).then(
        [ended("b:one", "failed", "failed"), finished("cancelled", succeeded=1, failed=1, cancelled=1)]
    )


def test_a_step_that_cannot_be_confirmed_dead_makes_the_run_lost():
    given(RUN, [*RUNNING, ASKED]).when(report(end("a:one", "lost"))).then(
        [ended("a:one", "lost", "lost"), finished("lost", lost=1, cancelled=2)]
    )


def test_nothing_is_tried_again_in_a_run_that_is_ending():
    history = [*ready("a", rules(StepRule("one", idempotent=True, max_retries=3))), STARTED, started("a:one"), ASKED]
    given(RUN, history).when(report(end("a:one", "failed"))).then(
        [ended("a:one", "failed", "failed"), finished("cancelled", failed=1)]
    )


def test_a_long_reason_is_refused():
    given(RUN, RUNNING).when(CancelRun("r" * 2001)).then_rejected("validation_failed", "reason")


def test_a_run_that_another_replaces_is_cancelled_and_says_for_which():
    asked = RunCancelRequested("replaced by run later")
    given(RUN, [requested()]).when(SupersedeRun("later")).then([asked, finished("cancelled")])
    given(RUN, RUNNING).when(SupersedeRun("later")).then([asked])
    given(RUN, [*RUNNING, ASKED]).when(SupersedeRun("later")).then_nothing()
    given(RUN, []).when(SupersedeRun("later")).then_rejected("run_not_found")
    given(RUN, [*RUNNING, finished("failed", failed=3)]).when(SupersedeRun("later")).then_rejected("run_finished")


# --- over its time --------------------------------------------------------------------------------------------------


def test_a_run_over_its_time_waits_for_its_steps_and_starts_none():
    over = given(RUN, RUNNING).when(report(timed_out=True)).then([OVER])
    given(RUN, over).when(report(timed_out=True)).then_nothing()
    given(RUN, over).when(report(start("b:two"))).then_rejected("run_is_ending")
    given(RUN, over).when(report(end("a:one", "timed_out"))).then(
        [ended("a:one", "timed_out", "timed_out"), finished("timed_out", timed_out=2, skipped=1)]
    )


def test_a_run_over_its_time_with_nothing_running_ends_at_once():
    given(RUN, ready("a b")).when(report(timed_out=True)).then([OVER, finished("timed_out", skipped=2)])
    given(RUN, RUNNING).when(report(end("a:one"), timed_out=True)).then(
        [ended("a:one"), OVER, finished("timed_out", timed_out=2, skipped=1)]
    )


def test_a_run_that_finishes_within_the_report_that_says_so_is_not_over_its_time_any_less():
    history = [*ready("a", rules(StepRule("one"))), STARTED, started("a:one")]
    given(RUN, history).when(report(end("a:one"), timed_out=True)).then(
        [ended("a:one", done="succeeded"), OVER, finished("timed_out", succeeded=1)]
    )


def test_a_run_over_its_time_may_still_be_cancelled_and_not_the_other_way_round():
    over = given(RUN, [*RUNNING, OVER]).when(CANCEL).then([ASKED])
    given(RUN, over).when(report(end("a:one", "cancelled"))).then(
        [ended("a:one", "cancelled", "cancelled"), finished("cancelled", cancelled=3)]
    )
    given(RUN, [*RUNNING, ASKED]).when(report(timed_out=True)).then_nothing()


# --- executor lost: resume ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stage", [[requested(), claimed()], [requested(), claimed(), planned("a", part=1, parts=2)], ready("a b")]
)
def test_a_run_without_a_started_step_just_goes_on_elsewhere(stage):
    history = given(RUN, stage).when(EXPIRE).then([RESUMED])
    given(RUN, history).when(EXPIRE).then_rejected("stale_epoch")


def test_a_started_step_without_a_result_is_lost_and_the_others_go_on():
    history = given(RUN, RUNNING).when(EXPIRE).then([lost("a:one"), RESUMED])
    held = [*history, claimed("e2", 2)]
    given(RUN, held).when(report(end("a:one"), executor="e2", epoch=2)).then_rejected("step_not_running")
    given(RUN, held).when(report(start("b:two"), executor="e2", epoch=2)).then([started("b:two", epoch=2)])


def test_an_idempotent_step_is_started_again_under_a_new_attempt():
    of_run = rules(StepRule("one", idempotent=True))
    history = [*ready("a", of_run), STARTED, started("a:one")]
    resumed = given(RUN, history).when(EXPIRE).then([lost("a:one", None, retry=True), RESUMED])
    held = [*resumed, claimed("e2", 2)]
    given(RUN, held).when(report(start("a:one", 1), executor="e2", epoch=2)).then_rejected("step_not_startable")
    given(RUN, held).when(report(start("a:one", 2), executor="e2", epoch=2)).then([started("a:one", 2, 2)])


def test_an_idempotent_step_is_not_lost_for_ever():
    history = ready("a", rules(StepRule("one", idempotent=True, max_retries=1)))
    for epoch in range(1, MAX_LOST_ATTEMPTS + 2):
        history = (
            given(RUN, history)
            .when(report(start("a:one", epoch), executor="e1", epoch=epoch))
            .then([*([STARTED] if epoch == 1 else []), started("a:one", epoch, epoch)])
        )
        history = (
            given(RUN, history)
            .when(ExpireClaim("e1", epoch))
            .then([lost("a:one", None, epoch, epoch, True), RunResumed("e1", epoch)])
        )
        history = [*history, claimed("e1", epoch + 1)]
    last = MAX_LOST_ATTEMPTS + 2
    history = [*history, started("a:one", last, last)]
    given(RUN, history).when(ExpireClaim("e1", last)).then(
        [lost("a:one", "lost", last, last), RunResumed("e1", last), finished("failed", lost=1)]
    )


NEVER_BEGAN = Failure("never_sent", "the executor stopped, or lost the run, before anything of the step was sent to its target")


def never_sent(attempt=1, done=None):
    return ended("a:one", "unreachable", done, attempt, error=NEVER_BEGAN, retry=done is None)


def told(attempt=1, error=NEVER_BEGAN):
    return end("a:one", "unreachable", attempt, error=error)


def test_a_step_of_which_nothing_was_sent_is_started_again_whatever_it_is():
    history = [*ready("a"), STARTED, started("a:one")]
    given(RUN, history).when(report(told())).then([never_sent()])
    given(RUN, [*history, never_sent()]).when(report(start("a:one", 2))).then([started("a:one", 2)])


def test_a_target_that_cannot_be_reached_is_not_tried_again():
    refused = Failure("connection_refused", "it does not answer")
    after = [ended("a:one", "unreachable", "unreachable", error=refused), finished("failed", unreachable=1)]
    given(RUN, [*ready("a"), STARTED, started("a:one")]).when(report(told(error=refused))).then(after)


def test_a_step_of_which_nothing_was_ever_sent_is_given_up_after_some_attempts():
    history = [*ready("a"), STARTED]
    for attempt in range(1, 1 + MAX_LOST_ATTEMPTS):
        history += [started("a:one", attempt), never_sent(attempt)]
    last = 1 + MAX_LOST_ATTEMPTS
    after = [never_sent(last, "unreachable"), finished("failed", unreachable=1)]
    given(RUN, [*history, started("a:one", last)]).when(report(told(last))).then(after)


def test_in_a_run_that_is_being_cancelled_a_step_of_which_nothing_was_sent_is_not_started_again():
    history = [*ready("a"), STARTED, started("a:one"), ASKED]
    after = [never_sent(done="unreachable"), finished("cancelled", unreachable=1)]
    given(RUN, history).when(report(told())).then(after)


def test_a_step_with_retries_left_is_started_again_after_a_loss():
    history = [*ready("a", rules(StepRule("one", max_retries=1))), STARTED, started("a:one")]
    given(RUN, history).when(EXPIRE).then([lost("a:one", None, retry=True), RESUMED])
    again = [*history, lost("a:one", None, retry=True), RESUMED, claimed("e2", 2), started("a:one", 2, 2)]
    given(RUN, again).when(ExpireClaim("e2", 2)).then(
        [lost("a:one", "lost", 2, 2), RunResumed("e2", 2), finished("failed", lost=1)]
    )


def test_a_run_that_was_being_cancelled_ends_with_its_executor():
    given(RUN, [*RUNNING, ASKED]).when(EXPIRE).then([lost("a:one"), RESUMED, finished("lost", lost=1, cancelled=2)])


def test_a_run_over_its_time_ends_with_its_executor():
    given(RUN, [*RUNNING, OVER]).when(EXPIRE).then([lost("a:one"), RESUMED, finished("lost", lost=1, timed_out=1, skipped=1)])


def test_too_many_losses_end_the_run():
    history = [*ready("a b", rules(StepRule("one"), max_failures=0, parallelism=1)), STARTED, started("a:one")]
    given(RUN, history).when(EXPIRE).then([lost("a:one"), RESUMED, finished("failed", lost=1, skipped=1)])


# --- executor lost: lose --------------------------------------------------------------------------------------------


def test_a_run_may_be_lost_with_its_executor():
    history = [
        *ready("a b c d", LOSE),
        STARTED,
        started("a:one"),
        started("b:one"),
        ended("b:one"),
        started("c:one"),
        ended("c:one", "failed", "failed"),
    ]
    given(RUN, history).when(EXPIRE).then([lost("a:one"), RunLost("e1", 1), finished("lost", failed=1, lost=2, skipped=1)])


def test_a_run_that_is_lost_repeats_nothing_even_where_it_might():
    of_run = rules(StepRule("one", idempotent=True, max_retries=3), lose=True)
    given(RUN, [*ready("a", of_run), STARTED, started("a:one")]).when(EXPIRE).then(
        [lost("a:one"), RunLost("e1", 1), finished("lost", lost=1)]
    )


@pytest.mark.parametrize(
    ("stage", "targets"),
    [
        ([requested(LOSE), claimed()], {}),
        ([requested(LOSE), claimed(), planned("a b", part=1, parts=2)], {"skipped": 2}),
        (ready("a b", LOSE), {"skipped": 2}),
    ],
)
def test_a_run_without_a_started_step_may_be_lost_too(stage, targets):
    given(RUN, stage).when(EXPIRE).then([RunLost("e1", 1), finished("lost", **targets)])


def test_nobody_expires_what_nobody_holds():
    given(RUN, [requested()]).when(ExpireClaim("e1", 0)).then_rejected("stale_epoch")
    given(RUN, [*ready("a"), RESUMED]).when(EXPIRE).then_rejected("stale_epoch")


# --- late reports ---------------------------------------------------------------------------------------------------

LATE = RecordLateReport("e1", 1, (end("a:one"),))
RECEIVED = LateReportReceived("e1", 1, (end("a:one"),))
GONE = [*RUNNING, lost("a:one"), RESUMED]


@pytest.mark.parametrize(
    "stage", [GONE, [*GONE, claimed("e2", 2)], [*GONE, claimed("e1", 2)], [*GONE, finished("failed", lost=3)]]
)
def test_a_late_report_is_kept_and_changes_nothing(stage):
    history = given(RUN, stage).when(LATE).then([RECEIVED])
    assert folded(RUN, history) == folded(RUN, stage)


def test_the_holder_reports_in_the_ordinary_way():
    given(RUN, RUNNING).when(LATE).then_rejected("report_not_late")


def test_nobody_is_late_for_an_epoch_that_never_was():
    for executor, epoch in (("e1", 2), ("e2", 2), ("e2", 1)):
        given(RUN, RUNNING).when(RecordLateReport(executor, epoch, (end("a:one"),))).then_rejected("stale_epoch")
    over = [requested(), claimed(), planned("a"), ASKED, finished("cancelled", cancelled=1)]
    given(RUN, over).when(RecordLateReport("e1", 2, (end("a:one"),))).then_rejected("stale_epoch")


def test_a_late_report_without_entries_is_nothing():
    given(RUN, GONE).when(RecordLateReport("e1", 1, ())).then_nothing()

"""Which steps may start, and what follows when one ends?"""

import pytest

from domain.run.messages import StepRule
from domain.run.progress import startable
from tests.domain.runs import (
    RUN,
    SSH_FAILURE,
    STARTED,
    end,
    ended,
    finished,
    ready,
    report,
    requested,
    rules,
    start,
    started,
)
from tests.domain.runs import claimed as claim_event
from tests.support.specification import folded, given

ONE = StepRule("one")
ONE_STEP = rules(ONE)


def may_start(events):
    return [(s.target, s.step, s.attempt) for s in startable(folded(RUN, events))]


# --- start ----------------------------------------------------------------------------------------------------------


def test_a_step_starts_after_its_intent_is_accepted_and_the_run_starts_with_its_first():
    history = given(RUN, ready("a b")).when(report(start("a:one"))).then([STARTED, started("a:one")])
    given(RUN, history).when(report(start("b:one"))).then([started("b:one")])


def test_one_report_carries_what_started_and_what_finished():
    given(RUN, ready("a b")).when(
        report(start("a:one"), start("b:one"), end("a:one", exit_code=0, output_end=7), start("a:two"))
    ).then([STARTED, started("a:one"), started("b:one"), ended("a:one", exit_code=0, output_end=7), started("a:two")])


def test_an_empty_report_says_nothing():
    given(RUN, ready("a")).when(report()).then_nothing()


@pytest.mark.parametrize("entry", ["b:one", "a:two", "a:three", "c:one", ":one", "a:"])
def test_only_the_next_step_of_the_next_target_may_start(entry):
    given(RUN, ready("a b")).when(report(start(entry))).then_rejected("step_not_startable")


@pytest.mark.parametrize("attempt", [0, 2, -1])
def test_a_first_attempt_is_the_first(attempt):
    given(RUN, ready("a")).when(report(start("a:one", attempt))).then_rejected("step_not_startable")


def test_a_step_starts_at_most_once_per_attempt():
    history = [*ready("a"), STARTED, started("a:one")]
    given(RUN, history).when(report(start("a:one"))).then_rejected("step_not_startable")
    given(RUN, history).when(report(start("a:two"))).then_rejected("step_not_startable")
    given(RUN, [*history, ended("a:one")]).when(report(start("a:one"))).then_rejected("step_not_startable")
    done = [*ready("a b", ONE_STEP), STARTED, started("a:one"), ended("a:one", done="succeeded")]
    given(RUN, done).when(report(start("a:one"))).then_rejected("step_not_startable")


def test_one_wrong_entry_refuses_the_whole_report():
    given(RUN, ready("a b")).when(report(start("a:one"), end("b:one"))).then_rejected("step_not_running")


def test_nothing_is_reported_before_the_plan():
    given(RUN, [requested(), claim_event()]).when(report(start("a:one"))).then_rejected("run_not_planned")
    given(RUN, [requested(), claim_event()]).when(report(timed_out=True)).then_rejected("run_not_planned")


# --- how it spreads -------------------------------------------------------------------------------------------------


def test_parallelism_is_never_exceeded():
    history = ready("a b c", rules(ONE, StepRule("two"), parallelism=2))
    assert may_start(history) == [("a", "one", 1), ("b", "one", 1)]
    both = given(RUN, history).when(report(start("a:one"), start("b:one"))).then([STARTED, started("a:one"), started("b:one")])
    given(RUN, both).when(report(start("c:one"))).then_rejected("step_not_startable")
    given(RUN, both).when(report(end("a:one"), start("c:one"))).then_rejected("step_not_startable")
    done = (
        given(RUN, both)
        .when(report(end("a:one"), start("a:two"), end("a:two")))
        .then([ended("a:one"), started("a:two"), ended("a:two", done="succeeded")])
    )
    assert may_start(done) == [("c", "one", 1)]


def test_a_batch_begins_when_the_one_before_is_done():
    history = ready("a b c d e", rules(ONE, batch_size=2))
    assert may_start(history) == [("a", "one", 1), ("b", "one", 1)]
    one = [*history, STARTED, started("a:one"), started("b:one"), ended("b:one", done="succeeded")]
    assert may_start(one) == []
    given(RUN, one).when(report(start("c:one"))).then_rejected("step_not_startable")
    two = (
        given(RUN, one)
        .when(report(end("a:one", "failed"), start("c:one")))
        .then([ended("a:one", "failed", "failed"), started("c:one")])
    )
    assert may_start(two) == [("d", "one", 1)]


@pytest.mark.parametrize(
    ("names", "batch_size", "first"),
    [
        ("a b c", None, "a b c"),
        ("a b c", "34%", "a"),
        ("a b c d", "50%", "a b"),
        ("a b c", "1%", "a"),
        ("a b", 5, "a b"),
        ("a b c", "100%", "a b c"),
    ],
)
def test_a_batch_may_be_a_percentage(names, batch_size, first):
    assert [name for name, _, _ in may_start(ready(names, rules(ONE, batch_size=batch_size)))] == first.split()


@pytest.mark.parametrize(
    ("max_failures", "failed", "goes_on"),
    [
        (None, 4, True),
        (0, 0, True),
        (0, 1, False),
        (1, 1, True),
        (1, 2, False),
        ("20%", 1, True),
        ("20%", 2, False),
        ("19%", 1, False),
        ("100%", 4, True),
    ],
)
def test_more_than_max_failures_and_no_further_target_begins(max_failures, failed, goes_on):
    history = [*ready("a b c d e", rules(ONE, max_failures=max_failures, parallelism=1)), STARTED]
    for name in "abcd"[:failed]:
        history += [started(f"{name}:one"), ended(f"{name}:one", "failed", "failed")]
    assert bool(may_start(history)) is goes_on


def test_with_too_many_failures_begun_targets_go_on_and_then_the_run_fails():
    of_run = rules(ONE, StepRule("two"), max_failures=0, parallelism=2)
    history = [*ready("a b c d", of_run), STARTED, started("a:one"), started("b:one")]
    failed = (
        given(RUN, history)
        .when(report(end("a:one", "failed", exit_code=7)))
        .then([ended("a:one", "failed", "failed", exit_code=7)])
    )
    given(RUN, failed).when(report(start("c:one"))).then_rejected("step_not_startable")
    given(RUN, failed).when(report(end("b:one"), start("b:two"), end("b:two"))).then(
        [ended("b:one"), started("b:two"), ended("b:two", done="succeeded"), finished("failed", failed=1, succeeded=1, skipped=2)]
    )


# --- what follows an end --------------------------------------------------------------------------------------------


def test_a_target_is_done_with_its_last_step_and_the_run_with_its_last_target():
    history = [*ready("a b", ONE_STEP), STARTED, started("a:one"), started("b:one")]
    one = given(RUN, history).when(report(end("a:one"))).then([ended("a:one", done="succeeded")])
    given(RUN, one).when(report(end("b:one"))).then([ended("b:one", done="succeeded"), finished("succeeded", succeeded=2)])


@pytest.mark.parametrize("state", ["failed", "timed_out", "lost", "unreachable", "cancelled"])
def test_a_failed_step_stops_its_target(state):
    history = [*ready("a"), STARTED, started("a:one")]
    given(RUN, history).when(report(end("a:one", state, error=SSH_FAILURE))).then(
        [ended("a:one", state, state, error=SSH_FAILURE), finished("failed", **{state: 1})]
    )


def test_a_failed_step_is_tried_again_as_often_as_it_says():
    of_run = rules(StepRule("one", max_retries=2, backoff_s=5))
    history = [*ready("a", of_run), STARTED, started("a:one")]
    for attempt in (1, 2):
        history = (
            given(RUN, history)
            .when(report(end("a:one", "failed", attempt)))
            .then([ended("a:one", "failed", None, attempt, retry=True)])
        )
        assert may_start(history) == [("a", "one", attempt + 1)]
        given(RUN, history).when(report(start("a:one", attempt))).then_rejected("step_not_startable")
        history = given(RUN, history).when(report(start("a:one", attempt + 1))).then([started("a:one", attempt + 1)])
    given(RUN, history).when(report(end("a:one", "failed", 2))).then_rejected("step_not_running")
    given(RUN, history).when(report(end("a:one", "failed", 3))).then(
        [ended("a:one", "failed", "failed", 3), finished("failed", failed=1)]
    )
    given(RUN, history).when(report(end("a:one", attempt=3))).then(
        [ended("a:one", attempt=3, done="succeeded"), finished("succeeded", succeeded=1)]
    )


@pytest.mark.parametrize("state", ["timed_out", "unreachable", "lost"])
def test_whatever_failed_is_tried_again(state):
    history = [*ready("a", rules(StepRule("one", max_retries=1))), STARTED, started("a:one")]
    given(RUN, history).when(report(end("a:one", state))).then([ended("a:one", state, retry=True)])


def test_a_cancelled_step_is_not_tried_again():
    history = [*ready("a", rules(StepRule("one", max_retries=1))), STARTED, started("a:one")]
    given(RUN, history).when(report(end("a:one", "cancelled"))).then(
        [ended("a:one", "cancelled", "cancelled"), finished("failed", cancelled=1)]
    )


def test_on_failure_continue_goes_on_and_the_target_still_ends_as_its_first_failure():
    of_run = rules(StepRule("one", on_failure="continue"), StepRule("two", on_failure="continue"), StepRule("three"))
    history = [*ready("a", of_run), STARTED, started("a:one")]
    one = (
        given(RUN, history)
        .when(report(end("a:one", "timed_out"), start("a:two")))
        .then([ended("a:one", "timed_out"), started("a:two")])
    )
    two = (
        given(RUN, one)
        .when(report(end("a:two", "failed"), start("a:three")))
        .then([ended("a:two", "failed"), started("a:three")])
    )
    given(RUN, two).when(report(end("a:three"))).then([ended("a:three", done="timed_out"), finished("failed", timed_out=1)])


def test_a_last_step_that_may_fail_still_fails_its_target():
    history = [*ready("a", rules(StepRule("one", on_failure="continue"))), STARTED, started("a:one")]
    given(RUN, history).when(report(end("a:one", "failed"))).then(
        [ended("a:one", "failed", "failed"), finished("failed", failed=1)]
    )


@pytest.mark.parametrize("state", ["unreachable", "lost"])
def test_on_failure_continue_does_not_go_on_where_nothing_is_known_of_the_target(state):
    history = [*ready("a", rules(StepRule("one", on_failure="continue"), ONE)), STARTED, started("a:one")]
    given(RUN, history).when(report(end("a:one", state))).then([ended("a:one", state, state), finished("failed", **{state: 1})])


@pytest.mark.parametrize("entry", [end("a:two"), end("a:one", attempt=2), end("b:one"), end("c:one"), end("a:x")])
def test_only_what_runs_can_end(entry):
    given(RUN, [*ready("a b"), STARTED, started("a:one")]).when(report(entry)).then_rejected("step_not_running")


def test_a_step_ends_once():
    history = [*ready("a"), STARTED, started("a:one")]
    given(RUN, history).when(report(end("a:one"), end("a:one"))).then_rejected("step_not_running")

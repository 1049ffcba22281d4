"""When may a run be requested, claimed and planned?"""

from dataclasses import replace

import pytest

from domain.job.decide import JobRevised
from domain.job.definition import Strategy
from domain.job.parameters import Parameter, SealedValue
from domain.run.decide import MAX_REASON, MAX_WAITING, NO_TARGETS
from domain.run.messages import (
    CancelRun,
    ClaimRun,
    ExpireClaim,
    FailRun,
    Failure,
    PlanRun,
    RecordLateReport,
    ReportRun,
    RequestRun,
    RunFinished,
    RunRequested,
    RunResumed,
    RunRules,
    StepRule,
)
from domain.selector import MAX_SELECTOR, parse_selector
from tests.domain.runs import (
    ARCHIVED,
    JOB,
    RUN,
    claimed,
    defined,
    end,
    finished,
    job,
    plan,
    planned,
    ready,
    requested,
)
from tests.support.specification import beside, given

REQUEST = RequestRun("rotate", 1, {})
RULES = RunRules((StepRule("one"), StepRule("two", True, 2, 5)), Strategy(), 86_400, "resume")
REQUESTED = RunRequested("rotate", 1, {}, "env=prod", "", RULES)


def requesting(command=REQUEST, unfinished=(), **of_job):
    return given(RUN, [], beside(JOB, defined(**of_job), unfinished)).when(command)


def test_a_run_pins_revision_and_rules_of_its_job():
    requesting().then([REQUESTED])
    requesting(on_executor_loss="lose", timeout_s=60, strategy=Strategy("25%", 5, "10%")).then(
        [replace(REQUESTED, rules=RunRules(RULES.steps, Strategy("25%", 5, "10%"), 60, "lose"))]
    )


def test_a_run_needs_its_job_as_it_is_now():
    given(RUN, []).when(REQUEST).then_rejected("job_not_found")
    given(RUN, [], beside(JOB, [])).when(REQUEST).then_rejected("job_not_found")
    given(RUN, [], beside(JOB, [*defined(), ARCHIVED])).when(REQUEST).then_rejected("job_archived")
    given(RUN, [], beside(JOB, [*defined(), JobRevised(2, job(title="x"))])).when(REQUEST).then_rejected("job_revised_meanwhile")


def test_a_run_id_is_used_once():
    given(RUN, [requested()], beside(JOB, defined())).when(REQUEST).then_rejected("run_exists")
    given(RUN, [requested(), finished("failed")], beside(JOB, defined())).when(REQUEST).then_rejected("run_exists")


def test_parameters_are_resolved_and_checked():
    days = Parameter(name="days", type="integer", default=7, maximum=90)
    token = Parameter(name="token", type="secret")
    sealed = SealedValue("v1")
    parameters = {"parameters": (days, token)}
    requesting(RequestRun("rotate", 1, {"token": sealed}), **parameters).then(
        [replace(REQUESTED, parameters={"days": 7, "token": sealed})]
    )
    requesting(RequestRun("rotate", 1, {"days": 91, "x": 1}), **parameters).then_rejected(
        "validation_failed", "parameters.x", "parameters.days", "parameters.token"
    )


@pytest.mark.parametrize("override", ["", "===", "a b", "env=prod,"])
def test_a_selector_that_does_not_parse_is_refused(override):
    requesting(RequestRun("rotate", 1, {}, override)).then_rejected("validation_failed", "targets")


def test_a_selector_narrows_the_jobs_and_never_widens_it():
    requesting(RequestRun("rotate", 1, {}, "role=web,!old")).then([replace(REQUESTED, targets="env=prod,role=web,!old")])


def test_a_narrowed_selector_that_would_be_too_long_to_be_read_is_refused():
    long = "a" + ",x" * ((MAX_SELECTOR - 1) // 2)
    parse_selector(long)
    requesting(RequestRun("rotate", 1, {}, long)).then_rejected("validation_failed", "targets")


def test_a_reason_is_kept_and_bounded():
    requesting(RequestRun("rotate", 1, {}, reason="r" * MAX_REASON)).then([replace(REQUESTED, reason="r" * MAX_REASON)])
    requesting(RequestRun("rotate", 1, {}, reason="r" * (MAX_REASON + 1))).then_rejected("validation_failed", "reason")


@pytest.mark.parametrize(
    ("concurrency", "waits_for", "replaces"),
    [("allow", (), False), ("queue", ("r1", "r2"), False), ("replace", ("r1", "r2"), True)],
)
def test_an_overlapping_run_waits_or_replaces_as_the_job_says(concurrency, waits_for, replaces):
    expected = replace(REQUESTED, waits_for=waits_for, replaces=replaces)
    requesting(unfinished=("r1", "r2"), concurrency=concurrency).then([expected])
    requesting(concurrency=concurrency).then([REQUESTED])


def test_a_job_that_forbids_overlap_has_one_run_at_a_time():
    requesting(concurrency="forbid").then([REQUESTED])
    requesting(unfinished=("r1",), concurrency="forbid").then_rejected("job_is_running")


@pytest.mark.parametrize("concurrency", ["queue", "replace"])
def test_the_queue_is_bounded(concurrency):
    requesting(unfinished=tuple(map(str, range(MAX_WAITING))), concurrency=concurrency).then_rejected("too_many_runs_waiting")


# --- claim ----------------------------------------------------------------------------------------------------------


def test_a_run_is_claimed_once_under_the_next_epoch():
    given(RUN, [requested()]).when(ClaimRun("e1", 1)).then([claimed()])
    given(RUN, [requested(), claimed()]).when(ClaimRun("e2", 2)).then_rejected("run_claimed")
    given(RUN, [requested(), claimed()]).when(ClaimRun("e1", 1)).then_rejected("run_claimed")
    for epoch in (0, 2, -1):
        given(RUN, [requested()]).when(ClaimRun("e1", epoch)).then_rejected("stale_epoch")
    resumed = [requested(), claimed(), RunResumed("e1", 1)]
    given(RUN, resumed).when(ClaimRun("e2", 1)).then_rejected("stale_epoch")
    given(RUN, resumed).when(ClaimRun("e2", 2)).then([claimed("e2", 2)])


COMMANDS = [
    ClaimRun("e1", 1),
    PlanRun("e1", 1, 1, 1, ()),
    FailRun("e1", 1, Failure("x", "x")),
    ReportRun("e1", 1),
    CancelRun(),
    ExpireClaim("e1", 1),
]


@pytest.mark.parametrize("command", [*COMMANDS, RecordLateReport("e1", 1, (end("web:one"),))])
def test_nothing_happens_to_a_run_that_was_never_requested(command):
    given(RUN, []).when(command).then_rejected("run_not_found")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("result", ["succeeded", "failed", "cancelled", "timed_out", "lost"])
def test_nothing_happens_to_a_finished_run(command, result):
    given(RUN, [*ready("web"), finished(result)]).when(command).then_rejected("run_finished")


@pytest.mark.parametrize(("executor", "epoch"), [("e2", 1), ("e1", 2), ("e1", 0)])
@pytest.mark.parametrize("stage", [[requested(), claimed()], ready("web")])
def test_only_the_holder_speaks_for_a_run(executor, epoch, stage):
    for command in (
        PlanRun(executor, epoch, 1, 1, ()),
        FailRun(executor, epoch, Failure("x", "x")),
        ReportRun(executor, epoch),
        ExpireClaim(executor, epoch),
    ):
        given(RUN, stage).when(command).then_rejected("stale_epoch")
        given(RUN, [requested()]).when(command).then_rejected("stale_epoch")


# --- plan -----------------------------------------------------------------------------------------------------------


def test_a_plan_in_one_part_records_what_it_saw():
    given(RUN, [requested(), claimed()]).when(plan("db web")).then([planned("db web")])
    given(RUN, ready("web")).when(plan("web")).then_rejected("run_planned")


def test_a_plan_comes_in_parts_in_order():
    begun = [requested(), claimed()]
    one = given(RUN, begun).when(plan("a b", 1, 3)).then([planned("a b", part=1, parts=3)])
    given(RUN, one).when(plan("e", 3, 3)).then_rejected("plan_out_of_order")
    two = given(RUN, one).when(plan("c d", 2, 3)).then([planned("c d", part=2, parts=3)])
    given(RUN, two).when(plan("c d", 2, 3)).then_rejected("plan_out_of_order")
    given(RUN, two).when(plan("e", 3, 3)).then([planned("e", part=3, parts=3)])
    for part, parts in ((0, 1), (2, 1), (-1, 3), (2, 2)):
        given(RUN, begun).when(plan("a", part, parts)).then_rejected("plan_out_of_order")


def test_planning_may_begin_anew():
    half = [requested(), claimed(), planned("a b", part=1, parts=2)]
    again = given(RUN, half).when(plan("a", 1, 1)).then([planned("a")])
    given(RUN, [*again, finished("cancelled", cancelled=1)]).when(CancelRun()).then_rejected("run_finished")


def test_parts_of_two_holders_never_mix():
    half = [requested(), claimed(), planned("a b", part=1, parts=2), RunResumed("e1", 1), claimed("e2", 2)]
    given(RUN, half).when(plan("c", 2, 2, "e2", 2)).then_rejected("plan_out_of_order")
    given(RUN, half).when(plan("a", 1, 1, "e2", 2)).then([planned("a")])


def test_a_target_stands_in_a_plan_once():
    given(RUN, [requested(), claimed()]).when(plan("a a")).then_rejected("plan_repeats_target")
    half = [requested(), claimed(), planned("a b", part=1, parts=2)]
    given(RUN, half).when(plan("b c", 2, 2)).then_rejected("plan_repeats_target")


def test_a_plan_without_targets_ends_the_run():
    empty = planned("")
    assert empty.targets == ()
    given(RUN, [requested(), claimed()]).when(plan("")).then([empty, RunFinished("failed", {}, NO_TARGETS)])


def test_a_run_that_cannot_be_planned_fails_and_counts_what_was_planned():
    error = Failure("job_revision_absent", "gone")
    given(RUN, [requested(), claimed()]).when(FailRun("e1", 1, error)).then([RunFinished("failed", {}, error)])
    half = [requested(), claimed(), planned("a b", part=1, parts=2)]
    given(RUN, half).when(FailRun("e1", 1, error)).then([RunFinished("failed", {"skipped": 2}, error)])
    given(RUN, ready("a")).when(FailRun("e1", 1, error)).then_rejected("run_planned")

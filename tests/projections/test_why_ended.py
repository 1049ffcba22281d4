"""Does a run say why it ended before it had gone through all its targets?"""

from random import Random
from typing import Any

import pytest

from domain.run.messages import CancelRun, ExpireClaim, FailRun, Failure, StepRule
from infra.memory.log import MemoryLog
from schemas.actor import Actor
from tests.domain.runs import RUN, claimed, end, ready, report, requested, rules, start
from tests.projections.histories import History, Writer
from tests.projections.tables_seen import Database, project
from tests.projections.test_rows_of_log import events_of
from tests.support.rows_of_log import rows_of

ONE = rules(StepRule("one"))
FRAGILE = rules(StepRule("one"), max_failures=1, parallelism=2)
LOSE = rules(StepRule("one"), lose=True)
BEGUN = report(start("a:one"), start("b:one"))
FAILED = [BEGUN, report(end("a:one", "failed"), end("b:one", "failed"))]
CANCELLED = ("cancelled", "cancelled by bob")
TOO_MANY = ("max_failures", "more targets failed than the job's max_failures allows; no further one was begun")
OVER_TIME = ("run_timed_out", "the run was over its job's timeout_s")
EXECUTOR_LOST = ("executor_lost", "the executor was lost, and the job says that its runs are lost with it")

ENDS: dict[str, tuple[list[Any], list[Any], str, tuple[str, str] | None]] = {
    "all succeed": (ready("a", ONE), [report(start("a:one")), report(end("a:one"))], "succeeded", None),
    "all fail, which is no more than there are": (ready("a b", ONE), FAILED, "failed", None),
    "too many fail, and none is left to begin": (ready("a b", FRAGILE), FAILED, "failed", None),
    "too many fail": (ready("a b c", FRAGILE), FAILED, "failed", TOO_MANY),
    "no plan": ([requested(), claimed()], [FailRun("e1", 1, Failure("job_unknown", "no"))], "failed", ("job_unknown", "no")),
    "over its time": (
        ready("a b c", FRAGILE),
        [BEGUN, report(timed_out=True), report(end("a:one", "timed_out"), end("b:one", "timed_out"))],
        "timed_out",
        OVER_TIME,
    ),
    "over its time, a step unconfirmed": (
        ready("a", ONE),
        [report(start("a:one")), report(timed_out=True), report(end("a:one", "lost"))],
        "lost",
        OVER_TIME,
    ),
    "cancelled": (ready("a b", ONE), [CancelRun("too late")], "cancelled", CANCELLED),
    "cancelled before it is planned": ([requested()], [CancelRun("too late")], "cancelled", CANCELLED),
    "cancelled when over its time": (
        ready("a", ONE),
        [report(start("a:one")), report(timed_out=True), CancelRun(), report(end("a:one", "cancelled"))],
        "cancelled",
        CANCELLED,
    ),
    "cancelled, then its executor is lost": (
        ready("a", LOSE),
        [report(start("a:one")), CancelRun(), ExpireClaim("e1", 1)],
        "lost",
        CANCELLED,
    ),
    "its executor is lost": (ready("a b", LOSE), [report(start("a:one")), ExpireClaim("e1", 1)], "lost", EXECUTOR_LOST),
    "its executor is lost before the plan": ([requested(LOSE), claimed()], [ExpireClaim("e1", 1)], "lost", EXECUTOR_LOST),
}


@pytest.mark.parametrize("name", ENDS)
async def test_a_run_says_why_it_ended(name: str, database: Database) -> None:
    begun, commands, state, said = ENDS[name]
    history, log = History(Random(1)), MemoryLog(1)
    history.record(RUN, *begun)
    for command in commands:
        assert history.give(RUN, command, Actor("user", "bob"))
    Writer(log).write(history.streams[RUN])
    await project(log, database)
    (row,) = database.rows()["runs"]
    assert (row["state"], row["error"]) == (state, said and {"code": said[0], "message": said[1]})
    assert rows_of(events_of(log), ()).rows["runs"][row["id"],] == row

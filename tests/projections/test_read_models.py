"""Do the rows say what the deciders know?"""

from random import Random

import pytest
from sqlalchemy import select

from domain.access import Limits
from domain.job import decide as job
from domain.job.definition import CommandStep, JobDefinition, Retries
from domain.job.parameters import Parameter, SealedValue
from domain.run import messages as run
from domain.run.state import Final, visible
from domain.target import SshConnection
from infra.memory.log import MemoryLog
from projections.tables import run_steps, runs
from schemas.actor import Actor, system
from schemas.payload import adapter
from tests.projections.histories import ALICE, History, Writer, random_history
from tests.projections.tables_seen import Database, project
from tests.support.builders import run_of

RUN = run_of("backup")


@pytest.mark.parametrize("seed", [0, 3])
async def test_every_row_agrees_with_its_deciders_state(database: Database, seed: int) -> None:
    history = random_history(Random(seed), 400)
    log = MemoryLog(2)
    Writer(log).write(history.interleaved(Random(1)))
    await project(log, database)
    rows = database.rows()
    for row in rows["targets"]:
        state = history.state(f"target/{row['name']}")
        assert (row["title"], row["host"], row["labels"], row["retired"], row["reachable"], tuple(row["open_checks"])) == (
            state.title, state.host, state.labels, state.retired, state.reachable, state.open_checks,
        )  # fmt: skip
        assert SshConnection(**row["connection"]) == state.connection
        labels = {r["key"]: r["value"] for r in rows["target_labels"] if r["target"] == row["name"]}
        assert labels == state.labels
    for row in rows["jobs"]:
        state = history.state(f"job/{row['name']}")
        assert (row["revision"], row["archived"]) == (state.revision, state.archived)
        assert adapter(JobDefinition).validate_python(row["definition"]) == state.definition
        assert sum(r["job"] == row["name"] for r in rows["job_revisions"]) == row["revision"]
    for row in rows["credentials"]:
        state = history.state(f"credential/{row['name']}")
        assert (row["revision"], row["revoked"]) == (state.revision, state.revoked)
    for row in rows["users"]:
        state = history.state(f"user/{row['name']}")
        assert (row["title"], tuple(row["roles"]), row["disabled"]) == (state.title, state.roles, state.disabled)
        assert tuple(row["sessions"]) == state.sessions and tuple(t["token"] for t in row["tokens"]) == state.tokens
        assert (row["password"], row["sealed_title"], row["erased"]) == (state.password, state.sealed_title, state.erased)
        assert (row["linked"] or {}).get("identity") == state.identity and state.linked is None
    for row in rows["roles"]:
        state = history.state(f"role/{row['name']}")
        assert (row["title"], tuple(row["permissions"]), row["removed"]) == (state.title, state.permissions, state.removed)
        assert Limits(**row["limits"]) == state.limits
    assert rows["roles"] and {row["name"] for row in rows["users"]} <= {"admin", "bob", "ci"}
    _check_runs(history, rows)


def _check_runs(history: History, rows: dict) -> None:
    states = {stream.partition("/")[2]: state for stream, state in history.states.items() if stream.startswith("run/")}
    assert {row["id"]: row["state"] for row in rows["runs"]} == {name: visible(state) for name, state in states.items()}
    for row in rows["runs"]:
        steps = [step for step in rows["run_steps"] if step["run"] == row["id"]]
        assert len({step["target"] for step in steps}) == row["total"]
        if isinstance(states[row["id"]], Final):
            assert not [step for step in steps if step["state"] in ("pending", "running")]
            assert row["finished_at"]
        else:
            assert (row["executor"], row["epoch"]) == (states[row["id"]].claim.executor, states[row["id"]].claim.epoch)
    ended = [row for row in rows["runs"] if row["finished_at"]]
    assert sum(row["runs"] for row in rows["job_results"]) == len(ended)
    assert {row["version"] for row in rows["events"] if row["stream"] == f"run/{rows['runs'][0]['id']}"} == set(
        range(1, rows["runs"][0]["version"] + 1)
    )


@pytest.fixture
def history() -> History:
    """A run of three steps on two targets, planned."""
    made = History(Random(1))
    steps = tuple(CommandStep(name=f"step-{n}", run="true", retries=Retries(max=1)) for n in range(3))
    parameters = (Parameter(name="token", type="secret"), Parameter(name="days", type="integer", default=7))
    made.give("job/backup", job.DefineJob("backup", JobDefinition(targets="env=prod", steps=steps, parameters=parameters)))
    made.give(f"run/{RUN}", run.RequestRun("backup", 1, {"token": SealedValue("v-1")}), system("scheduler"), ALICE)
    made.give(f"run/{RUN}", run.ClaimRun("ex", 1))
    planned = tuple(run.PlannedTarget(n, 1, "h", {}, SshConnection("deploy")) for n in ("a", "b"))
    made.give(f"run/{RUN}", run.PlanRun("ex", 1, 1, 1, planned))
    return made


def report(history: History, *entries: run.Entry) -> None:
    assert history.give(f"run/{RUN}", run.ReportRun("ex", 1, entries))


async def steps_of(history: History, database: Database) -> dict[tuple[str, int, int], str]:
    log = MemoryLog(1)
    Writer(log).write(history.interleaved(Random(1)))
    await project(log, database)
    with database.reader.connect() as connection:
        rows = connection.execute(select(run_steps).order_by(run_steps.c.target, run_steps.c.step_index)).all()
    return {(row.target, row.step_index, row.attempt): row.state for row in rows}


async def test_a_planned_run_shows_every_step_pending(history: History, database: Database) -> None:
    steps = await steps_of(history, database)
    assert steps == {(target, index, 1): "pending" for target in "ab" for index in range(3)}
    (row,) = database.rows()["runs"]
    assert (row["state"], row["total"], row["requested_by"]) == ("planned", 2, "alice")
    assert row["parameters"] == {"token": {"sealed": "v-1"}, "days": 7}


async def test_each_attempt_has_a_row_and_the_steps_after_a_failure_are_skipped(history: History, database: Database) -> None:
    error = run.Failure("exit_code", "it said no")
    report(history, run.StepStart("step-0", "a", 1))
    report(history, run.StepEnd("step-0", "a", 1, "failed", 3, error, 10))
    report(history, run.StepStart("step-0", "a", 2))
    report(history, run.StepEnd("step-0", "a", 2, "failed", 3, error, 30), run.StepStart("step-0", "b", 1))
    steps = await steps_of(history, database)
    assert steps == {
        ("a", 0, 1): "failed", ("a", 0, 2): "failed", ("a", 1, 1): "skipped", ("a", 2, 1): "skipped",
        ("b", 0, 1): "running", ("b", 1, 1): "pending", ("b", 2, 1): "pending",
    }  # fmt: skip
    (row,) = database.rows()["runs"]
    assert (row["state"], row["counts"], row["output_end"]) == ("running", {"failed": 1}, 30)
    (failed,) = [r for r in database.rows()["run_steps"] if (r["target"], r["attempt"]) == ("a", 2)]
    assert (failed["exit_code"], failed["error"]) == (3, {"code": "exit_code", "message": "it said no"})


async def test_what_was_pending_when_a_run_was_cancelled_is_cancelled(history: History, database: Database) -> None:
    report(history, run.StepStart("step-0", "a", 1))
    history.give(f"run/{RUN}", run.CancelRun(), Actor("user", "bob"))
    report(history, run.StepEnd("step-0", "a", 1, "cancelled"))
    assert set((await steps_of(history, database)).values()) == {"cancelled"}
    (row,) = database.rows()["runs"]
    assert (row["state"], row["ending"], row["counts"]) == ("cancelled", "cancelled", {"cancelled": 2})


async def test_what_was_pending_when_a_run_was_over_its_time_is_skipped(history: History, database: Database) -> None:
    report(history, run.StepStart("step-0", "a", 1))
    history.give(f"run/{RUN}", run.ReportRun("ex", 1, timed_out=True))
    report(history, run.StepEnd("step-0", "a", 1, "timed_out"))
    steps = await steps_of(history, database)
    assert steps.pop(("a", 0, 1)) == "timed_out"
    assert set(steps.values()) == {"skipped"}


async def test_a_plan_begun_anew_replaces_the_parts_before(history: History, database: Database) -> None:
    other = run_of("backup", 2)
    history.give(f"run/{other}", run.RequestRun("backup", 1, {"token": SealedValue("v-1")}))
    history.give(f"run/{other}", run.ClaimRun("ex", 1))
    for epoch, names, parts in ((1, "xy", 2), (2, "z", 1)):
        planned = tuple(run.PlannedTarget(n, 1, "h", {}, SshConnection("deploy")) for n in names)
        history.give(f"run/{other}", run.PlanRun("ex", epoch, 1, parts, planned))
        history.give(f"run/{other}", run.ExpireClaim("ex", epoch))
        history.give(f"run/{other}", run.ClaimRun("ex", epoch + 1))
    await steps_of(history, database)
    with database.reader.connect() as connection:
        assert set(connection.execute(select(run_steps.c.target).where(run_steps.c.run == other)).scalars()) == {"z"}
        assert connection.execute(select(runs.c.total).where(runs.c.id == other)).scalar() == 1

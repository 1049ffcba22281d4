"""Is a role that crashed told apart from one that was to end, and a run that shows nothing from one that shows something?"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.deploy.services.kafka import KafkaCluster
from tests.jepsen.ends import NO_ROLE_ENDS_BY_ITSELF, End, unforeseen
from tests.jepsen.explain import QUESTIONS, Case
from tests.jepsen.facts import COUNTS, looked_at
from tests.jepsen.history import History
from tests.jepsen.proxy import Proxies
from tests.jepsen.run import Report, too_little
from tests.jepsen.test_explain import SENT, log_of, read, write
from tests.jepsen.world import World
from tests.roles.harness import Installation
from tests.support.checker import INVARIANTS
from tests.support.eventually import eventually
from tests.support.evidence import Evidence
from tests.support.facts import lines

NO_BROKER = 'commands cannot run: the brokers do not describe the topics: KafkaError{code=_TRANSPORT,val=-195,str="…"}\n'
HANGS = '{"event": "the thread that owns the shards hangs since 30 s: this process ends"}\n'
NO_ANSWER = "api cannot run: the brokers do not describe the topics: no answer in time\n"
NO_BOOTSTRAP = "executor cannot run: executor ended: KafkaConnectionError: Unable to bootstrap from [('127.0.0.1', 1)]\n"
NO_VAULT = "api cannot run: api ended: the vault does not answer: OperationalError\n"
STUCK = "executor cannot run: executor ended: runs/3/71 waits, and the committed position 70 does not move\n"
OTHER_NAME = "commands cannot run: commands ended: fenced twice within a minute: another process runs under 'commands-1'\n"

FORESEEN = [
    End("api", -9, False, ""),
    End("executor-1", 0, True, ""),
    End("commands-1", -15, True, ""),
    End("commands-1", 70, False, HANGS),
    End("commands-1", 1, False, f"Traceback of an earlier error\n{NO_BROKER}"),
    End("executor-2", 1, False, STUCK),
    End("executor-2", 1, False, NO_BOOTSTRAP),
    End("api", 1, False, NO_ANSWER),
    End("api", 1, False, NO_VAULT),
]
CRASHES = [
    End("api", 0, False, ""),
    End("executor-1", -15, False, ""),
    End("commands-1", 70, False, "Traceback"),
    End("api", 70, False, HANGS),
    End("commands-1", 78, False, OTHER_NAME),
    End("commands-1", 78, True, OTHER_NAME),
    End("projections", 1, False, "projections cannot run: projections ended: 'NoneType' object has no attribute 'x'\n"),
    End("commands-1", 1, False, f"{NO_BROKER}commands cannot run: commands ended: something else\n"),
    End("api", 1, False, NO_VAULT.replace("OperationalError", "ProgrammingError")),
    End("sweeper", 1, False, "Traceback (most recent call last):\nZeroDivisionError\n"),
    End("api", -11, False, ""),
]


@pytest.mark.parametrize("end", FORESEEN, ids=lambda end: f"{end.name} {end.status}")
def test_an_end_that_was_ordered_or_asks_for_a_supervisor_is_foreseen(end: End) -> None:
    assert unforeseen(end) is None


@pytest.mark.parametrize("end", CRASHES, ids=lambda end: f"{end.name} {end.status}")
def test_every_other_end_is_told_with_what_the_process_said_last(end: End) -> None:
    told = unforeseen(end) or ""
    assert told.startswith(f"{end.name} ended by itself with status {end.status}") and told.endswith(end.said)


class Falling(Installation):
    """A role that says something and falls."""

    def role(self, name: str) -> list[str]:
        return ["sh", "-c", "echo life of $$; exit 3"]


def test_a_supervisor_notes_a_role_that_crashes_with_the_log_of_that_life_alone(tmp_path: Path) -> None:
    roles, proxies = Falling(tmp_path / "home", {"api": {}}, {}), Proxies()
    there = World(KafkaCluster([]), proxies, roles, tmp_path)
    try:
        roles.start()
        pids = [roles.processes["api"].pid]
        for _ in range(2):
            roles.processes["api"].wait(60)
            there.look_after()
            pids.append(roles.processes["api"].pid)
        eventually(lambda: len(there.crashed) == 2)
        assert [what.split("…")[1] for what in there.crashed] == [f"life of {pid}\n" for pid in pids[:2]]
        assert there.ended == {"api with status 3": 2}
    finally:
        roles.end_all()
        proxies.close()


def evidence() -> Evidence:
    return Evidence(told=(), events=(), outcomes=(), starts=(), still_running=(), live={}, rebuilt={})


def test_each_check_says_how_many_facts_it_looked_at_and_one_without_any_is_not_told_as_checked() -> None:
    assert {*QUESTIONS, *INVARIANTS} <= set(COUNTS)
    log = log_of(SENT)
    case = Case(History(writes=[write(n, at.body) for n, at in enumerate(log.outcomes)], reads=[read(1, "one", 0.0)]), log)
    looked = looked_at((*QUESTIONS, *INVARIANTS), case, evidence())
    assert (looked["decided_one_by_one"], looked["reads_are_explained"], looked["runs_end"]) == (len(SENT), 1, 0)
    checked, not_checked = lines(looked)
    assert "runs_end" in not_checked and "runs_end" not in checked and f"decided_one_by_one {len(SENT)}" in checked


def test_a_run_in_which_nothing_was_done_does_not_pass() -> None:
    assert Report().status == 0
    assert too_little({"ok": 18, "read": 3}, {"ok": 18.0, "read": 4.0}) == ["3 read, at least 4 are wanted"]
    dead = Report(lacking=too_little({"ok": 0}, {"ok": 20}))
    assert dead.status == 1 and "TOO LITTLE WAS DONE: 0 ok, at least 20 are wanted" in list(dead.verdict("7"))
    assert Report(broken=[(NO_ROLE_ENDS_BY_ITSELF, "api")]).status == 1


@pytest.mark.parametrize("what", ["jepsen", "chaos"])
def test_where_java_is_missing_one_line_says_so_and_the_status_is_no_violation_s(what: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", f"tests.{what}", "--minutes", "0.1", "--seed", "7"]
    environment = {**os.environ, "PATH": str(tmp_path)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stdout.splitlines()[-1], ran.stderr) == (2, "cannot run: java is not installed", "")

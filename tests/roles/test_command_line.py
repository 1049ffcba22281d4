"""Does every command of the command line work against a live server, in a pipe, as JSON, and on a terminal?"""

import json
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import private_key
from tests.roles.fleet import FleetServer, caught_up
from tests.roles.harness import PROGRAM, Installation
from tests.roles.rest import Rest
from tests.roles.terminal import at_terminal
from tests.support.eventually import eventually

pytestmark = pytest.mark.services

OPENS_CLIPBOARD = "\\033]52;c;aGVsbG8=\\007"
SETS_TITLE = "\\033]0;title\\007"
MOVES = "\\033[2J\\033[1;1H"
COLOUR = "\\033[31mred\\033[0m"


def job(name: str, run: str, **more: Any) -> dict[str, Any]:
    step = {"name": "only", "kind": "command", "run": run, "timeout_s": 30}
    return {"name": name, "targets": "main=yes", "steps": [step], **more}


@pytest.fixture(scope="module")
def jobs(server: Installation, fleet_servers: list[FleetServer]) -> Iterator[Callable[..., Path]]:
    """Applies a job; one target carries the label that these jobs ask for."""
    rest = server.rest()
    rest.write("PATCH", "/targets/a-01", {"labels": {"main": "yes"}})
    rest.get("/targets/a-01")
    folder = server.home.parent

    def applied(name: str, run: str, **more: Any) -> Path:
        file = folder / f"{name}.json"
        file.write_text(json.dumps(job(name, run, **more)))
        ok(server, "job", "apply", "-f", str(file))
        return file

    yield applied


@cache
def onlooker(server: Installation) -> Rest:
    return server.rest()


def ok(server: Installation, *words: str, status: int = 0, **more: Any) -> str:
    """What the command wrote on standard output; its exit status must be as said.

    The read models are awaited first: they are not at the heels of somebody who types as fast as this.
    """
    eventually(lambda: caught_up(onlooker(server)))
    done = server.command(*words, **more)
    assert done.returncode == status, f"{words}: {done.returncode} {done.stdout} {done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


def as_json(server: Installation, *words: str) -> list[Any]:
    """The same with `-o json`: one document a line."""
    return [json.loads(line) for line in ok(server, *words, "-o", "json").splitlines()]


def test_targets_and_credentials_by_the_command_line(
    server: Installation, tmp_path: Path, fleet_servers: list[FleetServer]
) -> None:
    key = tmp_path / "key"
    key.write_text(fleet_servers[0].private_key)
    (made,) = as_json(server, "credential", "create", "cli-key", "--username", fleet_servers[0].user, "--key-file", str(key))
    assert made["stream"] == "credential/cli-key"
    ok(server, "credential", "rotate", "cli-key", "--username", fleet_servers[0].user, "--key-file", str(key))
    where = ["--host", "127.0.0.1", "--port", str(fleet_servers[0].port), "--credential", "cli-key"]
    pin = tmp_path / "host.pub"
    pin.write_text(fleet_servers[0].host_key + " a comment\n")
    (added,) = as_json(server, "target", "add", "cli-01", *where, "--host-key-file", str(pin), "--label", "made=cli")
    assert added["stream"] == "target/cli-01"
    patch = tmp_path / "patch.yaml"
    patch.write_text("title: Changed\n")
    assert as_json(server, "target", "change", "cli-01", "-f", str(patch))[0]["version"] == 2
    ok(server, "target", "check", "cli-01")

    def reachable() -> bool:
        return as_json(server, "target", "show", "cli-01")[0]["reachable"] is True

    eventually(reachable, within=120, every=0.5)
    assert [t["name"] for t in as_json(server, "target", "list", "--selector", "made=cli")] == ["cli-01"]
    lines = ok(server, "target", "list", "--selector", "made=cli").splitlines()
    assert lines == ["cli-01\tChanged\t127.0.0.1\tmade=cli\tssh\tyes\t" + lines[0].rpartition("\t")[2]]
    assert "private_key" not in ok(server, "credential", "show", "cli-key")
    assert {c["name"] for c in as_json(server, "credential", "list")} >= {"cli-key", "key-a"}
    ok(server, "target", "retire", "cli-01")
    ok(server, "credential", "revoke", "cli-key")
    refused = server.command("target", "show", "no-such")
    assert refused.returncode == 6 and refused.stderr.startswith("target_not_found"), refused.stderr


def test_a_job_applied_twice_is_one_job_with_two_revisions(server: Installation, jobs: Callable[..., Path]) -> None:
    jobs("twice", "echo one")
    jobs("twice", "echo two")
    (shown,) = as_json(server, "job", "show", "twice")
    assert shown["revision"] == 2
    (first,) = as_json(server, "job", "show", "twice", "--revision", "1")
    assert first["steps"][0]["run"] == "echo one"
    assert "twice" in {j["name"] for j in as_json(server, "job", "list")}
    ok(server, "job", "archive", "twice")


@pytest.mark.parametrize(("name", "run", "status"), [("good", "echo fine", 0), ("bad", "echo no >&2; exit 9", 1)])
def test_following_a_run_ends_with_its_result(
    server: Installation, jobs: Callable[..., Path], name: str, run: str, status: int
) -> None:
    jobs(name, run)
    said = ok(server, "run", "start", name, "--follow", "--reason", "because", status=status)
    assert said == ("a-01 | fine\n" if status == 0 else "a-01 ! no\n")


def test_following_a_run_that_is_cancelled_ends_with_3(server: Installation, jobs: Callable[..., Path]) -> None:
    jobs("endless", "echo begun; sleep 60")
    with subprocess.Popen(
        [PROGRAM, "run", "start", "endless", "--follow"], env=server.environment, stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout and following.stdout.readline() == "a-01 | begun\n"
        (run,) = (r["id"] for r in as_json(server, "run", "list", "--job", "endless", "--limit", "1"))
        ok(server, "run", "cancel", run, "--reason", "enough")
        assert following.wait(60) == 3
    assert as_json(server, "run", "list", "--job", "endless", "--state", "cancelled")[0]["id"] == run


def test_a_run_and_its_trail_read_back(server: Installation, jobs: Callable[..., Path]) -> None:
    jobs("greet", "echo hello {{ parameters.who }}", parameters=[{"name": "who", "type": "integer"}])
    plan = as_json(server, "run", "start", "greet", "-p", "who=7", "--dry-run")[0]
    assert plan["targets"] == ["a-01"]
    wrong = server.command("run", "start", "greet", "-p", "who=seven")
    assert wrong.returncode == 6 and "parameters.who" in wrong.stderr
    (started,) = as_json(server, "run", "start", "greet", "-p", "who=7", "--targets", "main=yes")
    run = started["run_id"]
    assert ok(server, "run", "output", run, "--follow") == "a-01 | hello 7\n"
    assert ok(server, "run", "output", run) == "hello 7\n"
    assert as_json(server, "run", "output", run, "--target", "a-01", "--stream", "stdout")[0]["text"] == "hello 7\n"
    assert as_json(server, "run", "show", run)[0]["state"] == "succeeded"
    assert as_json(server, "run", "steps", run)[0]["exit_code"] == 0
    types = [event["type"] for event in as_json(server, "audit", "--stream", f"run/{run}")]
    assert types[0] == "RunRequested" and types[-1] == "RunFinished"
    assert all(line.count("\t") == 6 for line in ok(server, "audit", "--type", "RunRequested", "--limit", "3").splitlines())


def test_what_is_followed_can_be_narrowed_as_what_is_read(server: Installation, jobs: Callable[..., Path]) -> None:
    jobs("both", "echo out; echo err >&2")
    (started,) = as_json(server, "run", "start", "both")
    followed = ("run", "output", started["run_id"], "--follow")
    assert ok(server, *followed, "--stream", "stderr") == "a-01 ! err\n"
    assert ok(server, *followed, "--step", "none", "--target", "a-01") == ""
    assert {item["stream"] for item in as_json(server, *followed, "--stream", "stdout")} == {"stdout"}
    assert server.command(*followed, "--stream", "both").returncode == 6


def test_what_cannot_be_written_is_told_and_is_no_result(server: Installation) -> None:
    with Path("/dev/full").open("w") as full:
        listed = [PROGRAM, "target", "list"]
        done = subprocess.run(
            listed, env=server.environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
    assert done.returncode == 74 and done.stderr.startswith("cannot write: ") and done.stderr.count("\n") == 1


def test_followed_as_json_every_line_is_a_document_and_the_last_is_the_run(
    server: Installation, jobs: Callable[..., Path]
) -> None:
    jobs("documents", "echo one; echo two")
    *items, final = as_json(server, "run", "start", "documents", "--follow")
    assert "".join(item["text"] for item in items) == "one\ntwo\n"
    assert final["state"] == "succeeded"


def test_read_models_by_the_command_line(server: Installation) -> None:
    names = {p["name"] for p in as_json(server, "projections", "status")}
    assert {"targets", "runs", "events"} <= names or len(names) >= 7, names
    done = server.command("projections", "rebuild", "targets")
    assert done.returncode == 0 and "rebuilt" in done.stderr
    assert server.command("projections", "rebuild").returncode == 2
    assert server.command("topics", "check").returncode == 2


def test_the_shell_is_told_how_to_complete(server: Installation) -> None:
    # The shell is told from the ancestors of the process, so there has to be one.
    asked = ["bash", "-c", f'"{PROGRAM}" --show-completion; exit $?']
    shown = subprocess.run(asked, env=server.environment, capture_output=True, text=True, timeout=120, check=True)
    assert "_OPSCONDUCTOR_COMPLETE" in shown.stdout
    environment = {
        **server.environment,
        "_OPSCONDUCTOR_COMPLETE": "complete_bash",
        "COMP_WORDS": "opsconductor ru",
        "COMP_CWORD": "1",
    }
    done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["run"]


def test_no_server_no_session_and_a_bad_file_each_have_their_status_and_a_line(server: Installation, tmp_path: Path) -> None:
    nowhere = server.command("--url", "http://127.0.0.1:9", "target", "list")
    assert nowhere.returncode == 7 and nowhere.stderr.startswith("no answer")
    stranger = {**server.environment, "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run([PROGRAM, "target", "list"], env=stranger, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 6 and "opsconductor login" in done.stderr
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text("a: &a [x]\nb: *a\n")
    assert server.command("job", "apply", "-f", str(bomb)).returncode == 2


def test_on_a_terminal_what_drives_it_is_taken_out_and_colours_stay(server: Installation, jobs: Callable[..., Path]) -> None:
    jobs("hostile", f"printf '{OPENS_CLIPBOARD}{SETS_TITLE}{MOVES}{COLOUR} text\\n'")
    shown = on_terminal(server, "run", "start", "hostile", "--follow")
    assert b"text" in shown and b"red" in shown
    for hostile in (b"\x1b]52", b"\x1b]0;", b"\x1b[2J", b"\x1b[1;1H"):
        assert hostile not in shown, shown
    (run,) = (r["id"] for r in as_json(server, "run", "list", "--job", "hostile", "--limit", "1"))
    later = on_terminal(server, "run", "output", run)
    assert b"\x1b]" not in later and b"\x1b[2J" not in later and b"\x1b[31mred" in later
    assert b"\x1b]52" in on_terminal(server, "run", "output", run, "--raw")
    table = on_terminal(server, "run", "list", "--job", "hostile")
    assert b"succeeded" in table and b"state" in table


def on_terminal(server: Installation, *words: str, said: bytes = b"", status: int = 0) -> bytes:
    """What the command writes when its output is a terminal, at which somebody types what is `said`."""
    eventually(lambda: caught_up(onlooker(server)))
    environment = {**server.environment, "TERM": "xterm-256color", "COLUMNS": "200"}
    shown, ended = at_terminal(environment, list(words), said)
    assert ended == status, shown
    return shown


def test_users_and_api_tokens_by_the_command_line(server: Installation, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("correct-horse-battery\n")
    (made,) = as_json(server, "user", "create", "carol", "--role", "viewer", "--title", "Carol", "--password-file", str(password))
    assert made["stream"] == "user/carol"
    ok(server, "user", "create", "robot", "--service", "--role", "operator")
    listed = {user["name"]: user for user in as_json(server, "user", "list")}
    assert (listed["carol"]["roles"], listed["robot"]["service"]) == (["viewer"], True)
    ok(server, "user", "change", "carol", "--role", "author", "--role", "auditor")
    ok(server, "user", "disable", "carol")
    ok(server, "user", "change", "carol", "--enable")
    ok(server, "user", "password", "carol", "--password-file", str(password))
    shown = as_json(server, "user", "show", "carol")[0]
    assert (shown["roles"], shown["disabled"]) == (["author", "auditor"], False)
    (issued,) = as_json(server, "token", "issue", "robot", "--expires-at", "2099-01-01", "--permission", "targets.read")
    assert [token["token"] for token in as_json(server, "token", "list", "robot")] == [issued["token_id"]]
    assert "a-01" in ok(server, "target", "list", env={**server.environment, "OPSCONDUCTOR_TOKEN": issued["token"]})
    ok(server, "job", "list", status=6, env={**server.environment, "OPSCONDUCTOR_TOKEN": issued["token"]})
    ok(server, "token", "revoke", "robot", issued["token_id"])
    ok(server, "target", "list", status=6, env={**server.environment, "OPSCONDUCTOR_TOKEN": issued["token"]})
    ok(server, "user", "disable", "admin", status=6)
    ok(server, "user", "disable", "robot/tokens", status=2)
    ok(server, "user", "show", "../targets", status=2)
    ok(server, "user", "disable", "robot#", status=6)
    assert as_json(server, "user", "show", "robot")[0]["disabled"] is False
    table = {row["permission"]: row for row in as_json(server, "permissions")}
    assert table["users.write"]["administrator"] and not table["users.write"]["author"]


def test_a_user_is_erased_by_the_command_line_once_that_is_confirmed(server: Installation) -> None:
    ok(server, "user", "create", "mallory", "--service", "--title", "Mallory Malone")
    asked = on_terminal(server, "user", "erase", "mallory", said=b"n\n", status=1)
    assert b"Erase user mallory?" in asked
    assert as_json(server, "user", "show", "mallory")[0]["title"] == "Mallory Malone"
    ok(server, "user", "erase", "mallory", status=2)  # nobody there to ask
    assert as_json(server, "user", "show", "mallory")[0]["erased"] is False
    on_terminal(server, "user", "erase", "mallory", said=b"y\n")
    (shown,) = as_json(server, "user", "show", "mallory")
    assert (shown["title"], shown["erased"], shown["disabled"]) == ("", True, True)
    ok(server, "user", "erase", "mallory", "--yes")
    ok(server, "user", "change", "mallory", "--enable", status=6)
    ok(server, "user", "erase", "admin", "--yes", status=6)
    ok(server, "user", "erase", "nobody-there", "--yes", status=6)


def test_a_credential_is_shredded_by_the_command_line_once_that_is_confirmed(server: Installation, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(private_key())
    ok(server, "credential", "create", "doomed", "--username", "u", "--key-file", str(key))
    asked = on_terminal(server, "credential", "shred", "doomed", said=b"n\n", status=1)
    assert b"Shred credential doomed?" in asked
    ok(server, "credential", "shred", "doomed", status=2)  # nobody there to ask
    assert as_json(server, "credential", "show", "doomed")[0]["shredded"] is False
    on_terminal(server, "credential", "shred", "doomed", said=b"y\n")
    assert as_json(server, "credential", "show", "doomed")[0]["shredded"] is True
    ok(server, "credential", "shred", "doomed", "--yes")
    ok(server, "credential", "shred", "nobody-there", "--yes", status=6)


def test_custom_roles_by_the_command_line_and_why_somebody_may_or_may_not(server: Installation) -> None:
    granted = ("--permission", "targets.read", "--permission", "jobs.read")
    (made,) = as_json(server, "role", "create", "only-a", *granted, "--targets", "name=a-01", "--jobs", "a*")
    assert made["stream"] == "role/only-a"
    ok(server, "user", "create", "erin", "--service", "--role", "only-a")
    (token,) = as_json(server, "token", "issue", "erin", "--expires-at", "2099-01-01")
    theirs = {**server.environment, "OPSCONDUCTOR_TOKEN": token["token"]}
    assert ok(server, "target", "list", env=theirs).count("\n") == 1
    (why,) = as_json(server, "permissions", "explain", "erin", "targets.write", "target/a-01")
    assert (why["allowed"], why["why"]) == (False, "only-a does not have targets.write")
    ok(server, "role", "change", "only-a", "--targets", "", "--title", "All")
    (shown,) = as_json(server, "role", "show", "only-a")
    assert (shown["title"], shown["limits"]["targets"], shown["limits"]["jobs"]) == ("All", None, "a*")
    ok(server, "role", "remove", "only-a")
    ok(server, "target", "list", status=6, env=theirs)
    assert "only-a" not in ok(server, "role", "list") and "only-a" in ok(server, "role", "list", "--removed")


def test_sessions_are_listed_and_ended_one_by_one_or_all_others(server: Installation, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("correct-horse-battery\n")
    ok(server, "user", "create", "frank", "--role", "viewer", "--password-file", str(password))
    machines = [{**server.environment, "XDG_CONFIG_HOME": str(tmp_path / name)} for name in ("one", "two", "three")]
    for machine in machines:
        ok(server, "login", "--user", "frank", "--password-file", str(password), env=machine)
    one, two, three = machines
    listed = [json.loads(line) for line in ok(server, "session", "list", "-o", "json", env=three).splitlines()]
    assert [each["current"] for each in listed] == [True, False, False]
    ok(server, "session", "end", listed[1]["session"], env=three)
    ok(server, "target", "list", status=6, env=two)
    ok(server, "target", "list", env=one)
    ok(server, "session", "end", "--others", env=three)
    ok(server, "target", "list", status=6, env=one)
    assert ok(server, "session", "list", env=three).count("\n") == 1
    for wrong in ([], ["--others", listed[0]["session"]], ["--all"], ["--others", "--user", "frank"], ["--user", "frank"]):
        ok(server, "session", "end", *wrong, status=2, env=three)
    ok(server, "login", "--user", "frank", "--password-file", str(password), env=one)
    theirs = [each["session"] for each in as_json(server, "session", "list", "--user", "frank")]
    assert len(theirs) == 2 and theirs[1] == listed[0]["session"]
    ok(server, "session", "end", theirs[1], "--user", "frank")
    ok(server, "target", "list", status=6, env=three)
    ok(server, "target", "list", env=one)
    ok(server, "session", "end", "--user", "frank", "--all")
    ok(server, "target", "list", status=6, env=one)


def test_who_signs_out_is_signed_in_no_more_here_and_on_the_server(server: Installation, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("correct-horse-battery\n")
    ok(server, "user", "create", "dave", "--role", "viewer", "--password-file", str(password))
    theirs = {**server.environment, "XDG_CONFIG_HOME": str(tmp_path)}
    ok(server, "login", "--user", "dave", "--password-file", str(password), env=theirs)
    kept = tmp_path / "opsconductor" / "session.json"
    copied = kept.read_text()
    ok(server, "target", "list", env=theirs)
    ok(server, "logout", env=theirs)
    assert not kept.exists()
    ok(server, "logout", status=6, env=theirs)
    kept.write_text(copied)
    ok(server, "target", "list", status=6, env=theirs)
    ok(server, "logout", env=theirs)
    assert not kept.exists(), "that it was over already is no reason to keep it"

"""What is given to the command line: are secrets kept out of its arguments, and is what is wrong told by a line and a status?"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from infra.cli.main import app
from tests.cli.running import said_by
from tests.roles.fleet import FleetServer, caught_up
from tests.roles.harness import Installation
from tests.roles.terminal import at_terminal
from tests.roles.test_command_line import onlooker
from tests.support.eventually import eventually

pytestmark = pytest.mark.services

LENGTH = 'printf %s "$OPS_PARAM_TOKEN" | wc -c'
"""Tells that a secret arrived whole without saying it."""


def ran(server: Installation, *words: str, status: int, given: str | None = None, **environment: str) -> Result:
    """The command within this process: to start the program for each would take most of the time."""
    names = {name: value for name, value in server.environment.items() if name.startswith(("OPSCONDUCTOR_", "XDG_"))}
    done = said_by(app, *words, given=given, env={**names, **environment})
    assert done.exit_code == status, f"{words}: {done.exit_code} {done.output}"
    return done


def ok(server: Installation, *words: str, status: int = 0, given: str | None = None, **environment: str) -> str:
    """What the command said on standard output, once the read models are as far as the log."""
    eventually(lambda: caught_up(onlooker(server)))
    return ran(server, *words, status=status, given=given, **environment).stdout


def refused(server: Installation, status: int, *words: str, **environment: str) -> str:
    """The command's one complaint."""
    done = ran(server, *words, status=status, **environment)
    assert not done.stdout
    return done.stderr


def applied(server: Installation, folder: Path, name: str, run: str, *parameters: dict[str, Any]) -> None:
    steps = [{"name": "only", "kind": "command", "run": run, "timeout_s": 30}]
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"name": name, "targets": "name=a-01", "parameters": parameters, "steps": steps}))
    ok(server, "job", "apply", "-f", str(file))


def length(server: Installation, job: str, *words: str, given: str | None = None) -> int:
    """How long the secret was that a run of the job got."""
    return int(ok(server, "run", "start", job, "--follow", *words, given=given).rpartition("|")[2])


def test_a_secret_parameter_comes_from_a_file_or_from_standard_input(server: Installation, tmp_path: Path) -> None:
    applied(server, tmp_path, "whisper", LENGTH, {"name": "token", "type": "secret"})
    kept = tmp_path / "token"
    kept.write_text("0123456789ab\n")
    assert length(server, "whisper", "--parameter-file", f"token={kept}") == 12
    assert length(server, "whisper", "--parameter-file", "token=-", given="from a pipe\n\n") == 12
    said = refused(server, 2, "run", "start", "whisper", "-p", "token=0123456789ab")
    assert "--parameter-file" in said and "0123456789ab" not in said
    assert "required" in refused(server, 6, "run", "start", "whisper")
    for wrong in (
        ["--parameter-file", f"token={kept}", "--parameter-file", f"token={kept}"],
        ["--parameter-file", "token=-", "--parameter-file", "other=-"],
        ["-p", "token=x", "--parameter-file", f"token={kept}"],
        ["--parameter-file", f"token={tmp_path}/none"],
        ["--parameter-file", "token"],
    ):
        refused(server, 2, "run", "start", "whisper", *wrong)


def test_a_required_secret_that_nobody_gave_is_asked_for_at_a_terminal_without_an_echo(
    server: Installation, tmp_path: Path
) -> None:
    unasked = {"name": "more", "type": "secret", "required": False}
    applied(server, tmp_path, "asking", LENGTH, {"name": "token", "type": "secret"}, unasked)
    words = ["run", "start", "asking", "--follow"]
    shown, status = at_terminal(server.environment, words, b"hush-hush-hush\n", after=b"token: ")
    assert status == 0 and b"14" in shown and b"hush" not in shown and b"more:" not in shown, shown


def test_a_number_that_json_would_not_write_so_is_refused_by_the_server(server: Installation, tmp_path: Path) -> None:
    applied(server, tmp_path, "num", "true", {"name": "f", "type": "number"}, {"name": "n", "type": "integer", "default": 1})
    for wrong in ("f=nan", "f=inf", "f=1e400", "f=1_0", "n=1_000", "n= 7 ", "n=٣", "n=+7", f"n={2**60}"):
        assert f"parameters.{wrong[0]}" in refused(
            server, 6, "run", "start", "num", "-p", wrong, "-p", f"{'fn'[wrong[0] == 'f']}=1"
        )
    ok(server, "run", "start", "num", "-p", "f=1e3", "-p", "n=-7", "--dry-run")
    assert "twice" in refused(server, 2, "run", "start", "num", "-p", "f=1", "-p", "f=2")
    assert "UTF-8" in refused(server, 2, "run", "start", "num", "-p", "f=1", "--reason", os.fsdecode(b"caf\xe9"))


def test_a_file_that_cannot_be_read_is_one_line_and_wrong_usage(server: Installation, tmp_path: Path) -> None:
    where = ["--host", "127.0.0.1", "--credential", "key-a"]
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for file in ("/nope", str(tmp_path), str(tmp_path / "binary")):
        for words in (
            ["credential", "create", "c", "--username", "r", "--key-file", file],
            ["credential", "rotate", "key-a", "--username", "r", "--key-file", file],
            ["target", "add", "t", *where, "--host-key-file", file],
            ["user", "create", "u", "--password-file", file],
            ["login", "--user", "u", "--password-file", file],
            ["job", "apply", "-f", file],
            ["run", "start", "trace", "--parameter-file", f"x={file}"],
        ):
            said = refused(server, 2, *words)
            assert file in said and said.count("\n") == 1, said


def test_what_would_be_ignored_or_overridden_is_refused(server: Installation, tmp_path: Path) -> None:
    where = ["--host", "127.0.0.1", "--credential", "key-a"]
    (tmp_path / "password").write_text("correct-horse-battery\n")
    refused(server, 2, "target", "add", "t", *where, "--label", "a=1", "--label", "a=2")
    refused(
        server, 2, "target", "add", "t", *where, "--host-key", "ssh-ed25519 AAAA", "--host-key-file", str(tmp_path / "password")
    )
    refused(server, 2, "user", "create", "x", "--service", "--password-file", str(tmp_path / "password"))
    refused(server, 2, "login", "--sso", "--password-file", str(tmp_path / "password"))
    refused(server, 2, "target", "list", "-o", "yaml")
    refused(server, 6, "job", "show", "trace", "--revision", "0")
    refused(server, 6, "user", "show", "x")


def test_signing_in_and_out_answer_as_json(server: Installation, tmp_path: Path) -> None:
    theirs = {"XDG_CONFIG_HOME": str(tmp_path)}
    password = server.home / "admin-password"
    said = ok(server, "login", "--user", "admin", "--password-file", str(password), "-o", "json", **theirs)
    assert json.loads(said) == {"url": server.url, "user": "admin"}
    assert json.loads(ok(server, "logout", "-o", "json", **theirs)) == {"url": server.url}


@contextmanager
def target(server: Installation, name: str, port: int, *more: str) -> Iterator[None]:
    ok(server, "target", "add", name, "--host", "127.0.0.1", "--port", str(port), "--credential", "key-a", *more)
    try:
        yield
    finally:
        ok(server, "target", "retire", name)


def test_a_check_shows_what_it_found_and_ends_with_it(server: Installation, fleet_servers: list[FleetServer]) -> None:
    port, key, other = fleet_servers[0].port, fleet_servers[0].host_key, fleet_servers[1].host_key
    with target(server, "check-good", port, "--host-key", key):
        found = json.loads(ok(server, "target", "check", "check-good", "-o", "json"))
        assert (found["target"], found["reachable"], found["code"]) == ("check-good", True, None)
    with target(server, "check-unpinned", port):
        assert "reachable\tno\n" in ok(server, "target", "check", "check-unpinned", status=1)
    with target(server, "check-changed", port, "--host-key", other):
        assert "code\thost_key_changed\n" in ok(server, "target", "check", "check-changed", status=1)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens there
        with target(server, "check-closed", closed.getsockname()[1], "--host-key", key):
            assert "reachable\tno\n" in ok(server, "target", "check", "check-closed", status=1)
    refused(server, 6, "target", "check", "no-such")


def test_a_check_whose_result_does_not_come_in_time_says_so(server: Installation, fleet_servers: list[FleetServer]) -> None:
    pin = ["--host-key", fleet_servers[0].host_key]
    with socket.create_server(("127.0.0.1", 0)) as silent, target(server, "check-silent", silent.getsockname()[1], *pin):
        assert "no result" in refused(server, 7, "target", "check", "check-silent", "--wait", "0.1")
        assert "version\t3\n" in ok(server, "target", "check", "check-silent", "--wait", "0")

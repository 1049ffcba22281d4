"""Is a run followed to its end whatever becomes of the connection, and is it said how it is taken up again where not?"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest
from click.testing import Result

from infra.cli import following
from infra.cli.context import CONTEXT
from infra.cli.main import app
from infra.cli.session import Session, load, save
from tests.cli.running import said_by
from tests.cli.scripted_server import END, Asked, access_token, answering, output
from tests.roles.harness import PROGRAM

RUN = "greet.1"
FOLLOW = ("run", "output", RUN, "--follow")
GOES_ON = f"run {RUN} goes on; take it up again with: opsconductor run output {RUN} --follow"
FINAL = {"id": RUN, "state": "failed", "targets": {"failed": 1, "total": 1}}
LOST = "the connection is lost ("


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("OPSCONDUCTOR_TOKEN", "OPSCONDUCTOR_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(following, "AGAIN_AFTER_S", 0.01)
    yield
    CONTEXT.url, CONTEXT.by_argument = None, False


def followed(answer: Callable[[Asked], None], *words: str) -> Result:
    with answering(answer) as url:
        save(Session(url, access_token(1), "refresh-1"))
        return said_by(app, *(words or FOLLOW))


class Server:
    """Answers each connection of who follows as the next of these says, and is asked for the run and new tokens beside."""

    def __init__(self, *connections: Callable[[Asked], None], good: int = 1) -> None:
        self._connections, self._good, self.after, self.traded = list(connections), good, list[str | None](), list[str]()

    def __call__(self, asked: Asked) -> None:
        if asked.path == "/auth/refresh":
            self.traded.append(asked.body["refresh_token"])
            asked.answer(200, {"access_token": access_token(2), "refresh_token": "refresh-2"})
        elif asked.token != access_token(self._good):
            asked.answer(401, {"code": "unauthenticated"})
        elif asked.method == "POST":
            asked.answer(202, {"run_id": RUN})
        elif asked.path.endswith("/output"):
            self.after.append(asked.after)
            self._connections.pop(0)(asked)
        else:
            asked.answer(200, FINAL)


def test_a_connection_that_breaks_is_taken_up_behind_the_last_piece_that_came() -> None:
    server = Server(
        lambda asked: asked.stream(output(4, "one\ntw"), "id: 5\nevent: output\ndata: {", whole=False),
        lambda asked: asked.stream(whole=False),
        lambda asked: asked.stream(output(5, "o\nthree\n"), END),
    )
    done = followed(server)
    assert (done.exit_code, done.stdout) == (0, "a | one\na | two\na | three\n")
    assert server.after == [None, "4", "4"]
    assert done.stderr.count(LOST) == 1 and done.stderr.count("\n") == 1, done.stderr


def test_so_is_a_stream_that_the_server_ends_before_the_run() -> None:
    server = Server(lambda asked: asked.stream(output(4, "one\n")), lambda asked: asked.stream(output(5, "two\n"), END))
    done = followed(server, "run", "start", "greet", "--follow")
    assert (done.exit_code, done.stdout, server.after) == (1, "a | one\na | two\n", [None, "4"])
    assert done.stderr.splitlines() == [f"run {RUN}", f"run {RUN} failed: 1 failed"]


def test_a_server_that_is_not_yet_up_again_is_waited_for() -> None:
    server = Server(
        lambda asked: asked.stream(output(4, "one\n"), whole=False),
        lambda asked: asked.answer(503, {"code": "unavailable"}),
        lambda asked: asked.stream(output(5, "two\n"), END),
    )
    done = followed(server, *FOLLOW, "-o", "json")
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["one\n", "two\n"]
    assert done.exit_code == 0 and done.stderr.count("\n") == 1


def test_patience_has_an_end_and_it_is_said_that_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PATIENCE_S", 0.3)
    first = iter([lambda asked: asked.stream(output(4, "one\ntw"), whole=False)])
    done = followed(lambda asked: next(first, lambda asked: asked.stream(whole=False))(asked))
    assert (done.exit_code, done.stdout) == (7, "a | one\na | tw\n"), "what had come is shown"
    lost, goes_on, why = done.stderr.splitlines()
    assert lost.startswith(LOST) and goes_on == GOES_ON and why.startswith("no answer: ")


def test_what_nobody_may_read_any_more_is_not_asked_for_again_and_again() -> None:
    server = Server(
        lambda asked: asked.stream(output(4, "one\n")), lambda asked: asked.answer(404, {"code": "run_not_found", "detail": "no"})
    )
    done = followed(server)
    assert (done.exit_code, done.stderr) == (6, "run_not_found: no\n")


def test_a_server_that_never_answered_is_not_waited_for() -> None:
    done = said_by(app, "--url", "http://127.0.0.1:9", *FOLLOW)
    assert done.exit_code == 7 and done.stderr.startswith("no answer: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [FOLLOW, ("run", "start", "greet", "--follow")])
def test_an_access_token_that_has_expired_is_renewed(words: tuple[str, ...]) -> None:
    server = Server(lambda asked: asked.stream(output(1, "one\n"), END), good=2)
    done = followed(server, *words)
    assert done.stdout == "a | one\n", done.stderr
    assert server.traded == ["refresh-1"] and load(None).refresh_token == "refresh-2"


def test_one_that_another_command_has_renewed_meanwhile_is_taken_instead_of_trading_the_old_one_again() -> None:
    def breaks_off(asked: Asked) -> None:
        save(Session(load(None).url, access_token(2), "refresh-2"))
        server._good = 2
        asked.stream(output(1, "one\n"), whole=False)

    server = Server(breaks_off, lambda asked: asked.stream(output(2, "two\n"), END))
    done = followed(server)
    assert (done.exit_code, done.stdout, server.traded) == (0, "a | one\na | two\n", [])


def test_but_not_one_of_another_sign_in() -> None:
    def breaks_off(asked: Asked) -> None:
        save(Session(load(None).url, access_token(9, "s-2"), "refresh-of-another"))
        server._good = 2
        asked.stream(output(1, "one\n"), whole=False)

    server = Server(breaks_off, lambda asked: asked.stream(output(2, "two\n"), END))
    assert (followed(server).exit_code, server.traded) == (0, ["refresh-1"])


_HEARS_CTRL_C = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
"""Starts a program that is not deaf to SIGINT: whoever started the tests may have had it ignored."""


@pytest.mark.parametrize("words", [FOLLOW, ("run", "start", "greet", "--follow")])
def test_who_stops_following_with_ctrl_c_is_told_that_the_run_goes_on(words: tuple[str, ...], tmp_path: Path) -> None:
    ended = Event()

    def answer(asked: Asked) -> None:
        if asked.method == "POST":
            asked.answer(202, {"run_id": RUN})
        else:
            asked.stream(output(1, "one\n"), whole=False)
            ended.wait(60)

    with answering(answer) as url:
        environment = {**os.environ, "OPSCONDUCTOR_URL": url}
        command = [sys.executable, "-c", _HEARS_CTRL_C, PROGRAM, *words]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout and process.stderr and process.stdout.readline() == "a | one\n"
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 130
            finally:
                process.kill()
                ended.set()
            said = process.stderr.read()
    assert f"run {RUN} goes on; follow it with: opsconductor run output {RUN} --follow\n" in said
    assert f"or end it with: opsconductor run cancel {RUN}\n" in said and "Traceback" not in said

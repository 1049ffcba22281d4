"""Does the server say that it listens when it does, where it does, and how to sign in there?"""

import os
import re
import socket
from pathlib import Path

import httpx2
import pytest

from infra.cli.main import app
from infra.telemetry.serving import CannotListen, bound, port_of
from infra.wiring.first_administrator import url_of
from infra.wiring.settings import settings_given
from tests.cli.running import said_by
from tests.roles.harness import Installation, embedded
from tests.support.eventually import eventually

pytestmark = pytest.mark.services


def test_a_server_whose_address_is_taken_says_so_in_one_line_and_not_that_it_listens(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "home", {}, {})
    with socket.create_server(("127.0.0.1", installation.port)):
        ended = installation.command("up")
    said = [line for line in ended.stderr.splitlines() if not line.startswith("{")]  # without records, as of an old SQLite
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 1 and len(said) == 1, ended.stderr
    assert f"cannot listen on 127.0.0.1:{installation.port}: Address already in use" in said[0]


def test_so_does_the_cluster_before_it_starts_anything(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        done = said_by(app, "cluster", env={"OPSCONDUCTOR_HOME": str(tmp_path / "home"), "OPSCONDUCTOR_LISTEN": where})
    assert done.exit_code == 1
    assert done.stderr.startswith(f"cannot listen on {where}: Address already in use (pid {os.getpid()}, "), done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "home").exists()


def test_a_server_tells_the_port_it_listens_on_and_how_to_sign_in_while_and_once_the_first_password_is_there(
    tmp_path: Path,
) -> None:
    with embedded(tmp_path) as installation:
        program = f"sign in: opsconductor --url {installation.url} login"
        with_file = f"{program} --user admin --password-file {installation.home}/admin-password"
        eventually(lambda: with_file in installation.log_end("up", 20_000))
        installation.stop("up")
        (installation.home / "admin-password").unlink()
        installation.log("up").write_text("")
        installation.environment["OPSCONDUCTOR_LISTEN"] = "127.0.0.1:0"
        installation.start("up")
        found = eventually(lambda: told(installation) or False, within=120)
        assert found and not found[1].endswith(":0")
        assert httpx2.get(f"{found[1]}/health/live", timeout=20, trust_env=False).status_code == 200
        where = f"sign in: opsconductor --url {found[1]} login; it asks for user"
        eventually(lambda: where in installation.log_end("up"))
        assert "--password-file" not in installation.log_end("up")


@pytest.mark.parametrize(
    ("given", "port", "url"),
    [
        ({}, 8080, "http://127.0.0.1:8080"),
        ({"listen": "127.0.0.1:0"}, 41_017, "http://127.0.0.1:41017"),
        ({"listen": "0.0.0.0:18311"}, 18_311, "http://127.0.0.1:18311"),
        ({"listen": "[::]:80"}, 80, "http://[::1]:80"),
        ({"listen": "[fd00::1]:80"}, 80, "http://[fd00::1]:80"),
        ({"listen": "ops.example.org:80"}, 80, "http://ops.example.org:80"),
        ({"tls_cert": "c.pem", "tls_key": "k.pem"}, 8080, "https://127.0.0.1:8080"),
        ({"listen": "0.0.0.0:80", "public_url": "https://ops.example.org"}, 80, "https://ops.example.org"),
    ],
)
def test_the_address_to_sign_in_at_is_one_that_can_be_reached(given: dict[str, str], port: int, url: str) -> None:
    assert url_of(settings_given(**given), port) == url


def told(installation: Installation) -> re.Match[str] | None:
    return re.search(r"listening on (http://127.0.0.1:[0-9]+) ", installation.log_end("up"))


def test_every_address_of_a_host_gets_the_same_port_and_one_that_is_taken_is_refused() -> None:
    with bound("localhost", 0) as sockets:
        assert {one.getsockname()[1] for one in sockets} == {port_of(sockets)} != {0}
        sockets[0].listen()
        with pytest.raises(CannotListen, match="Address already in use"), bound("localhost", port_of(sockets)):
            pass
    with pytest.raises(CannotListen, match="no-such-host"), bound("no-such-host.invalid", 1):
        pass

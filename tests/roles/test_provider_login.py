"""Does somebody at a terminal sign in with a provider that others wrote? Server, provider and command line are real processes."""

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from infra.deploy.services.native_process import free_port
from tests.roles.harness import PROGRAM, Installation, embedded
from tests.support.eventually import eventually

US = "http://localhost"
DORA = {"sub": "d-1", "preferred_username": "dora", "name": "Dora D.", "groups": ["ops"]}
EVE = {"sub": "e-1", "preferred_username": "admin", "groups": ["root"]}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """A provider made with Authlib, in its own process."""
    port = free_port()
    users = [word for who in (DORA, EVE) for word in ("--user-claims", json.dumps(who))]
    process = subprocess.Popen(
        [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), *users], stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with contextlib.suppress(httpx2.TransportError):
            return httpx2.get(f"{url}/.well-known/openid-configuration", trust_env=False).status_code == 200
        return False

    try:
        eventually(answers, within=120)
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server(issuer: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    settings = {"ISSUER": issuer, "CLIENT_ID": "ops", "CLIENT_SECRET": "any", "ROLES": "ops=operator,root=administrator"}
    environment = {f"OPSCONDUCTOR_OIDC_{name}": value for name, value in settings.items()}
    with embedded(tmp_path_factory.mktemp("provider"), OPSCONDUCTOR_PUBLIC_URL=US, **environment) as installation:
        yield installation


def at_the_browser(installation: Installation, where: str, subject: str) -> httpx2.Response:
    """What a person does: follow every link, and say at the provider who they are."""
    with httpx2.Client(timeout=60, trust_env=False) as browser:
        answer = browser.get(where)
        while answer.status_code in (302, 303):
            there = answer.headers["location"].replace(US, installation.url)
            if urlsplit(there).path.endswith("/authorize"):
                answer = browser.post(there, data={"sub": subject})
            else:
                answer = browser.get(there)
        return answer


def test_the_command_line_signs_in_through_the_browser(server: Installation) -> None:
    command = [PROGRAM, "login", "--sso", "--no-browser"]
    environment, silent = server.environment, subprocess.DEVNULL
    login = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdin=silent, text=True)
    assert login.stderr is not None
    found = re.search(r"http://\S+", login.stderr.readline())
    assert found
    said = at_the_browser(server, found[0], "d-1").text
    assert "may be closed" in said, server.log_end("up")
    assert login.wait(60) == 0, login.stderr.read()
    shown = server.command("user", "show", "dora", "-o", "json")
    assert shown.returncode == 4 or "permission" in shown.stderr, "an operator does not look at users"
    jobs = server.command("job", "list", "-o", "json")
    assert jobs.returncode == 0, jobs.stderr


def test_a_user_is_taken_from_the_provider_by_the_command_line_and_refused_there_from_then_on(server: Installation) -> None:
    assert at_the_browser(server, f"{server.url}/api/v1/auth/oidc/start", "d-1").status_code == 200
    server.log_in()
    assert server.command("user", "unlink", "dora", stdin=subprocess.DEVNULL).returncode == 2, "nobody there to ask"
    unlinked = server.command("user", "unlink", "dora", "--yes")
    assert unlinked.returncode == 0, unlinked.stderr
    shown = json.loads(server.command("user", "show", "dora", "-o", "json").stdout)
    assert (shown["linked"], shown["roles"], shown["title"]) == (None, [], "Dora D.")
    again = server.command("user", "unlink", "dora", "--yes")
    assert again.returncode == 6 and "identity" in again.stderr
    assert at_the_browser(server, f"{server.url}/api/v1/auth/oidc/start", "d-1").json()["code"] == "identity_refused"


def test_a_provider_s_user_with_the_administrator_s_name_is_not_the_administrator(server: Installation) -> None:
    answer = at_the_browser(server, f"{server.url}/api/v1/auth/oidc/start", "e-1")
    assert (answer.status_code, answer.json()["code"]) == (403, "identity_refused")


def test_what_is_missing_of_a_provider_s_settings_is_told_at_the_start(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "home", {"up": {}}, {"OPSCONDUCTOR_OIDC_ISSUER": "https://id.example.org"})
    said = installation.command("up")
    assert said.returncode == 78 and "OPSCONDUCTOR_OIDC_CLIENT_ID" in said.stderr
    roles = {"OPSCONDUCTOR_OIDC_CLIENT_ID": "ops", "OPSCONDUCTOR_PUBLIC_URL": US, "OPSCONDUCTOR_OIDC_ROLES": "operator"}
    said = installation.command("up", env={**installation.environment, **roles})
    assert said.returncode == 78 and "group=role" in said.stderr

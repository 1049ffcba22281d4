"""Does the embedded server keep its folder to itself, its data over restarts, and its word when it is told to stop?"""

import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.roles.fleet import FINAL, Fleet, FleetServer, nothing_lost
from tests.roles.harness import STOP_WITHIN_S, Installation, embedded
from tests.roles.rest import Rest
from tests.support.eventually import eventually

pytestmark = pytest.mark.services


def test_a_second_server_on_the_folder_is_refused_naming_the_first(server: Installation) -> None:
    second = server.command("up")
    assert second.returncode == 1
    assert f"process {server.processes['up'].pid}" in second.stderr
    assert "Traceback" not in second.stderr
    assert server.is_ready()


def test_no_lock_stays_behind_when_the_server_is_killed_and_its_data_is_there_again(tmp_path: Path) -> None:
    with embedded(tmp_path) as installation:
        rest = installation.rest()
        rest.write("POST", "/credentials", {"name": "one", "kind": "password", "secret": {"username": "u", "password": "p"}})
        password = rest.password
        installation.kill9("up")
        installation.start("up")
        eventually(installation.is_ready, within=120)
        assert [row["name"] for row in rest.items("/credentials")] == ["one"]
        assert installation.rest().password == password
        installation.stop("up")
        installation.start("up")
        eventually(installation.is_ready, within=120)
        again = installation.rest()
        again.acknowledged += rest.acknowledged
        assert [row["name"] for row in again.items("/credentials")] == ["one"]


def test_a_server_told_to_stop_hands_a_running_step_over_and_ends_open_streams(
    tmp_path: Path, fleet_servers: list[FleetServer]
) -> None:
    tmp_path.chmod(0o755)
    with embedded(tmp_path) as installation:
        rest = installation.rest()
        fleet = Fleet(fleet_servers, tmp_path / "traces")
        fleet.register(rest)
        long = {
            "name": "long",
            "targets": "set=fleet",
            "steps": [{"name": "sleep", "kind": "command", "run": "echo on; sleep 300"}],
        }
        rest.write("POST", "/jobs", long)
        run = rest.write("POST", "/jobs/long/runs", {}).body["run_id"]
        eventually(lambda: len(rest.items(f"/runs/{run}/output")) == 20, within=120, every=0.3)
        heard = _listening(rest, f"/runs/{run}/output?follow=true")
        took = installation.stop("up")
        print(f"stopped after {took:.1f} s")
        assert took < STOP_WITHIN_S
        heard.thread.join(60)
        assert not heard.thread.is_alive()
        assert heard.lines, "nothing was streamed"
        installation.start("up")
        eventually(installation.is_ready, within=120)
        ended = eventually(lambda: _final(rest, run), within=120, every=0.5)
        assert ended["state"] in ("lost", "failed")
        states = {(step["state"], (step["error"] or {}).get("code")) for step in rest.items(f"/runs/{run}/steps")}
        assert states == {("lost", "executor_stopped")}
        other = rest.write("POST", "/jobs/trace/runs", {}).body["run_id"]
        assert eventually(lambda: _final(rest, other), within=120, every=0.5)["state"] == "succeeded"
        eventually(lambda: nothing_lost(installation.rows(), rest.acknowledged), within=120)


def _final(rest: Rest, run: str) -> Any:
    found = rest.get(f"/runs/{run}")
    return found if found["state"] in FINAL else False


class _listening:
    """Reads a stream of server-sent events to its end."""

    def __init__(self, rest: Rest, path: str) -> None:
        self.lines: list[str] = []
        self._rest, self._path = rest, path
        self._open = threading.Event()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        assert self._open.wait(60)

    def _read(self) -> None:
        headers = {"Authorization": f"Bearer {self._rest._token}"}
        url = f"{self._rest.url}/api/v1{self._path}"
        with httpx2.stream("GET", url, headers=headers, timeout=60, trust_env=False) as answer:
            try:
                for line in answer.iter_lines():
                    self.lines.append(line)
                    self._open.set()
            except httpx2.TransportError:
                return

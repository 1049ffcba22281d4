"""An embedded server in a process of its own, and a client for it."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from infra.deploy.services.native_process import free_port

_START_WITHIN_S = 60.0
_RUN_WITHIN_S = 300.0
_PROGRAM = str(Path(sys.executable).with_name("opsconductor"))
_NO_RATE_LIMITS = {"OPSCONDUCTOR_RATE_ACCOUNT_READS": "0", "OPSCONDUCTOR_RATE_ACCOUNT_WRITES": "0"}


class CallFailed(Exception):
    """The server did not answer as it should."""


@dataclass
class Server:
    """One running server; calls raise `CallFailed`."""

    port: int
    pid: int
    token: str = ""
    _kept: http.client.HTTPConnection | None = field(default=None, repr=False)
    _events: http.client.HTTPResponse | None = field(default=None, repr=False)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        expected: tuple[int, ...] = (200, 201),
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Any:
        """The answer's JSON."""
        own = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        return self._exchanged(method, path, None if body is None else json.dumps(body), own | dict(headers), expected)

    def sign_in(self, password: str) -> None:
        """As the first administrator."""
        form = urlencode({"grant_type": "password", "username": "admin", "password": password})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self.token = self._exchanged("POST", "/api/v1/auth/token", form, headers, (200,))["access_token"]

    def run(self, job: str) -> dict[str, Any]:
        """Start a run, wait until the event stream tells that it has finished, and read it.

        Who asks again and again instead takes a fifth of the processor time that the run itself needs.
        """
        self._kept = None  # the server closes what has been idle for a while
        events = self._finished_runs()
        run = self.call("POST", f"/api/v1/jobs/{job}/runs", {})["run_id"]
        event = self._finish_of(run, events)
        self._kept = None  # it may have been closed again meanwhile
        version = {"Ops-Min-Version": f"{event['stream']}@{event['version']}"}
        read: dict[str, Any] = self.call("GET", f"/api/v1/runs/{run}", headers=version)
        return read

    def _finished_runs(self) -> http.client.HTTPResponse:
        """The stream of every run that finishes from now on."""
        if self._events is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            connection.request("GET", "/api/v1/events/stream?type=RunFinished", headers={"Authorization": f"Bearer {self.token}"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise CallFailed(f"GET /api/v1/events/stream: {answer.status}")
            self._events = answer
        return self._events

    def _finish_of(self, run: str, events: http.client.HTTPResponse) -> dict[str, Any]:
        until = time.monotonic() + _RUN_WITHIN_S
        for line in events:  # an idle stream says from time to time that it lives
            if line.startswith(b"data: ") and (event := json.loads(line[6:]))["stream"] == f"run/{run}":
                found: dict[str, Any] = event
                return found
            if time.monotonic() > until:
                raise CallFailed(f"run {run} did not finish within {_RUN_WITHIN_S:g} s")
        raise CallFailed(f"the event stream ended before run {run}")

    def cpu_s(self) -> float:
        """The processor time the server has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _exchanged(self, method: str, path: str, body: str | None, headers: dict[str, str], expected: tuple[int, ...]) -> Any:
        self._kept = self._kept or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self._kept.request(method, path, body, headers)
        answer = self._kept.getresponse()
        told = answer.read()
        if answer.status not in expected:
            raise CallFailed(f"{method} {path}: {answer.status} {told[:500]!r}")
        return json.loads(told) if told else None


@contextlib.contextmanager
def server(home: Path, **settings: str) -> Iterator[Server]:
    """A server on this data folder, signed in to; ended in order with the block."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPSCONDUCTOR_")}
    environment |= {"OPSCONDUCTOR_HOME": str(home), "OPSCONDUCTOR_LISTEN": f"127.0.0.1:{port}", **_NO_RATE_LIMITS} | settings
    home.mkdir(parents=True, exist_ok=True)
    with (home.parent / "server.log").open("ab") as log:
        process = subprocess.Popen([_PROGRAM, "up"], env=environment, stdout=log, stderr=log)
        try:
            running = Server(port, process.pid)
            _await_ready(running, home)
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _await_ready(running: Server, home: Path) -> None:
    deadline = time.monotonic() + _START_WITHIN_S
    while True:
        try:
            running.call("GET", "/health/ready")
            running.sign_in((home / "admin-password").read_text().strip())
            return
        except (OSError, http.client.HTTPException, CallFailed):
            running._kept = None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)

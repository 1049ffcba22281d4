"""What does it look like? An embedded server and an sshd of their own, and a job run on it: the tutorial's steps, really run."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import typer

from infra.cli.program import program
from infra.deploy.services.native_process import free_port
from infra.deploy.services.sshd import SshServer

START_WITHIN_S = 60.0

JOB = """\
name: greet
title: Say hello from every machine
targets: env=demo
parameters:
  - {name: who, type: string, default: world}
strategy: {parallelism: 2}
steps:
  - name: hello
    kind: command
    run: echo hello {{ parameters.who }} from {{ target.name }}; sleep 1; uname -sr
  - name: count
    kind: script
    shell: sh
    body: |
      for i in 1 2 3; do
        echo "line $i"
        sleep 0.3
      done
"""


def demo() -> None:
    """Start a server and an sshd of their own in a new folder, run a job with live output, show its audit trail, stop."""
    with tempfile.TemporaryDirectory(prefix="opsconductor-demo-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with SshServer(home=folder / "sshd") as sshd, _server(folder) as environment:
            (folder / "key").touch(mode=0o600)
            (folder / "key").write_text(sshd.private_key)
            (folder / "greet.yaml").write_text(JOB)
            raise typer.Exit(_tour(folder, sshd, environment))


def _tour(folder: Path, sshd: SshServer, environment: Mapping[str, str]) -> int:
    port = ["--host", "127.0.0.1", "--port", str(sshd.port), "--credential", "demo-key", "--host-key", sshd.host_key]
    commands = [
        ["login", "--user", "admin", "--password-file", "home/admin-password"],
        ["credential", "create", "demo-key", "--username", sshd.user, "--key-file", "key"],
        ["target", "add", "web-01", *port, "--label", "env=demo"],
        ["target", "add", "web-02", *port, "--label", "env=demo"],
        ["job", "apply", "-f", "greet.yaml"],
        ["run", "start", "greet", "-p", "who=operators", "--reason", "the five-minute tour", "--follow"],
        ["run", "list"],
        ["audit", "--type", "StepFinished"],
    ]
    for command in commands:
        typer.echo(f"\n$ opsconductor {' '.join(_quoted(word) for word in command)}")
        done = subprocess.run([program(), *command], cwd=folder, env=dict(environment))
        if done.returncode:
            return done.returncode
    return 0


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[Mapping[str, str]]:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPSCONDUCTOR_")}
    environment |= {
        "OPSCONDUCTOR_HOME": str(folder / "home"),
        "OPSCONDUCTOR_LISTEN": f"127.0.0.1:{port}",
        "OPSCONDUCTOR_URL": f"http://127.0.0.1:{port}",
        "XDG_CONFIG_HOME": str(folder / "config"),
    }
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen([program(), "up"], env=environment, stdout=log, stderr=log)
        try:
            _await_ready(environment["OPSCONDUCTOR_URL"], server, folder / "server.log")
            yield environment
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def _await_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{url}/health/ready", timeout=2):
            return
        time.sleep(0.1)
    typer.echo(log.read_text(), err=True)
    raise typer.Exit(1)

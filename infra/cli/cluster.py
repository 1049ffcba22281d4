"""How does the whole cluster run on one machine? Services natively, every role a process of its own, all ended together."""

import os
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import IO

import typer

from infra.cli.misconfigured import wrong_settings_told
from infra.cli.program import program
from infra.deploy.services.native_process import open_log
from infra.deploy.services.together import running
from infra.kafka.topics import apply
from infra.telemetry.serving import CannotListen, bound
from infra.wiring.composition import kafka_settings
from infra.wiring.first_administrator import PASSWORD_FILE
from infra.wiring.misconfigured import WrongSetting
from infra.wiring.settings import Settings, settings_given, unknown_settings

ROLES = ("commands", "projections", "executor", "sweeper", "api")
RESTART_AFTER_S = 1.0
STOP_WITHIN_S = 25.0


def cluster() -> None:
    """Start Kafka, Postgres, Redis and sshd natively and every role as its own process; Ctrl-C stops all."""
    with wrong_settings_told():
        own = settings_given()
        if own.listen_address[1] == 0:
            raise WrongSetting("OPSCONDUCTOR_LISTEN: a cluster's API needs a port that is known: it may be started again")
    try:
        with bound(*own.listen_address):
            pass  # said now: the API would be started again and again
    except CannotListen as taken:
        _say(str(taken))
        raise typer.Exit(1) from None
    if unknown := unknown_settings(os.environ):
        _say(f"warning: no such setting, it is ignored: {', '.join(unknown)}")
    folder = own.home / "cluster"
    os.umask(0o077)  # whatever the services and roles write is ours alone
    make_closed(folder)
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: stopping.append(received))
    _say(f"starting services in {folder}")
    with running(folder) as services:
        environment = {
            **os.environ,
            "OPSCONDUCTOR_LOG_URL": f"kafka://{services['kafka-1'].address}",
            "OPSCONDUCTOR_LOG_REPLICATION": "1",
            "OPSCONDUCTOR_DATABASE_URL": services["postgres"].address,
            "OPSCONDUCTOR_REDIS_URL": services["redis"].address,
            "OPSCONDUCTOR_HOME": str(own.home),
        }
        for name in ("KAFKA-1", "POSTGRES", "REDIS", "SSHD"):
            shown = services[name.lower()].address
            _say(f"  {name.lower():10} {shown.split('@')[-1]}  pid {services[name.lower()].pid}")
        settings = settings_given(log_url=environment["OPSCONDUCTOR_LOG_URL"], log_replication=1)
        apply(kafka_settings(settings))
        _supervise(folder, environment, own, stopping)


def make_closed(folder: Path) -> None:
    """Make the folder of everything's data and logs, or close an older one: nobody else enters. But where Postgres' own account
    has its data below, as before, it has to pass: then others may, too, and look around no more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_passed = not os.geteuid() and (folder / "postgres" / "postgres-data").exists()
    folder.chmod(0o711 if is_passed else 0o700)


def _supervise(folder: Path, environment: Mapping[str, str], own: Settings, stopping: list[int]) -> None:
    with Processes(folder, environment) as processes:
        for role in ROLES:
            _say(f"  {role:10} pid {processes.start(role)}")
        listens = False
        while not stopping:
            if not listens and (listens := _answers(own)):
                _say(f"listening on http{'s' if own.tls else ''}://{own.listen}")
                _say(f"how to sign in stands in {folder}/api.log; a generated first password, in {own.home / PASSWORD_FILE}")
            for role in processes.ended():
                _say(f"{role} ended; starting it again")
                time.sleep(RESTART_AFTER_S)
                if not stopping:
                    processes.start(role)
            time.sleep(0.2)
        _say("stopping")


def _answers(own: Settings) -> bool:
    host, port = own.listen_address
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


class Processes:
    """Role processes by name; all of them are stopped at the end, by force if need be."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._running: dict[str, Popen[bytes]] = {}
        self._logs: dict[str, IO[bytes]] = {}

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_WITHIN_S
        for process in self._running.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except TimeoutExpired:
                process.kill()
                process.wait()
        for log in self._logs.values():
            log.close()

    def start(self, role: str) -> int:
        """Start a role's process; its pid. It logs to `<role>.log` in the folder."""
        log = self._logs[role] = self._logs.get(role) or open_log(self._folder / f"{role}.log")
        command = [program(), role]
        # A session of its own: Ctrl-C reaches this process first, which then stops the roles in order.
        self._running[role] = Popen(command, env=dict(self._environment), stdout=log, stderr=log, start_new_session=True)
        return self._running[role].pid

    def ended(self) -> list[str]:
        """The roles whose process has ended."""
        return [role for role, process in self._running.items() if process.poll() is not None]


def _say(message: str) -> None:
    typer.echo(message, err=True)

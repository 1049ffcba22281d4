"""How does the whole cluster run on one machine? Services natively, every role a process of its own, all ended together."""

import getpass
import os
import signal
import ssl
import time
from collections.abc import Collection, Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from shlex import quote
from subprocess import Popen, TimeoutExpired

import typer

from infra.cli.misconfigured import wrong_settings_told
from infra.cli.one_cluster import RunsAlready, alone_in, end_left_over, write_down
from infra.cli.program import program
from infra.cli.restarts import Restarts, Supervised
from infra.deploy.services.native_process import NativeService, ServiceFailed, open_log, tied_to_us
from infra.deploy.services.port_holder import holder_of
from infra.deploy.services.together import running
from infra.kafka.topics import apply
from infra.telemetry.serving import CannotListen, bound
from infra.wiring.composition import kafka_settings
from infra.wiring.console import Console
from infra.wiring.first_administrator import PASSWORD_FILE
from infra.wiring.misconfigured import WrongSetting
from infra.wiring.settings import Settings, settings_given, unknown_settings
from infra.wiring.supervise import stop_signals

ROLES = ("commands", "projections", "executor", "sweeper", "api")
ROLE_AGAIN_WITHIN_S, SERVICE_AGAIN_WITHIN_S = 5.0, 30.0
"""So long waits at most who ends again and again."""
STOP_WITHIN_S = 25.0
_ANSWERS_WITHIN_S = 2.0

_say = Console().say


def cluster() -> None:
    """Start Kafka, Postgres, Redis and sshd natively and every role as its own process; Ctrl-C stops all."""
    with wrong_settings_told():
        own = settings_given()
        if own.listen_address[1] == 0:
            raise WrongSetting("OPSCONDUCTOR_LISTEN: a cluster's API needs a port that is known: it may be started again")
    folder = own.home / "cluster"
    try:
        if not folder.exists():
            _look_at_port(own)  # where nothing is to be started, nothing is made
        os.umask(0o077)  # whatever the services and roles write is ours alone
        make_closed(folder)
        with alone_in(folder):
            end_left_over(folder, STOP_WITHIN_S, _say)
            _look_at_port(own)
            if unknown := unknown_settings(os.environ):
                _say(f"warning: no such setting, it is ignored: {', '.join(unknown)}")
            _run(folder, own)
    except (RunsAlready, CannotListen, ServiceFailed) as failed:
        _say(str(failed))
        raise typer.Exit(1) from None


def _look_at_port(own: Settings) -> None:
    """Raise `CannotListen` now: the API would be started again and again."""
    try:
        with bound(*own.listen_address):
            pass
    except CannotListen as taken:
        holder = holder_of(own.listen_address[1])
        raise CannotListen(f"{taken} ({holder})" if holder else str(taken)) from None


def _run(folder: Path, own: Settings) -> None:
    stopping: list[int] = []
    for number in stop_signals():
        signal.signal(number, lambda received, frame: stopping.append(received))
    _say(f"starting services in {folder}")
    with running(folder, _say) as services:
        environment = {
            **os.environ,
            "OPSCONDUCTOR_LOG_URL": f"kafka://{services['kafka-1'].address}",
            "OPSCONDUCTOR_LOG_REPLICATION": "1",
            "OPSCONDUCTOR_DATABASE_URL": services["postgres"].address,
            "OPSCONDUCTOR_REDIS_URL": services["redis"].address,
            "OPSCONDUCTOR_HOME": str(own.home),
        }
        for name, service in services.items():
            _say(f"  {name:10} {service.address.split('@')[-1]}  pid {service.pid}")
        settings = settings_given(log_url=environment["OPSCONDUCTOR_LOG_URL"], log_replication=1)
        apply(kafka_settings(settings))
        _supervise(folder, services, {role: RoleProcess(role, folder, environment) for role in ROLES}, own, stopping)


def make_closed(folder: Path) -> None:
    """Make the folder of everything's data and logs, or close an older one: nobody else enters. But where Postgres' own account
    has its data below, as before, it has to pass: then others may, too, and look around no more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_passed = not os.geteuid() and (folder / "postgres" / "postgres-data").exists()
    folder.chmod(0o711 if is_passed else 0o700)


def _supervise(
    folder: Path, services: Mapping[str, NativeService], roles: Mapping[str, "RoleProcess"], own: Settings, stopping: list[int]
) -> None:
    looks = Restarts(services, SERVICE_AGAIN_WITHIN_S, _say), Restarts(roles, ROLE_AGAIN_WITHIN_S, _say)
    try:
        for role, process in roles.items():
            process.launch()
            _say(f"  {role:10} pid {process.pid}")
        _write_down(folder, services, roles)
        listens = False
        while not stopping:
            if not listens and (listens := _answers(own)):
                _say_how_to_begin(folder, services["sshd"], own)
            if [name for look in looks for name in look.look(time.monotonic())]:
                _write_down(folder, services, roles)
            time.sleep(0.2)
        _say("stopping")
    finally:
        stop_all(roles.values())


def _write_down(folder: Path, *groups: Mapping[str, Supervised]) -> None:
    try:
        write_down(folder, {name: one.pid for group in groups for name, one in group.items()})
    except OSError as failed:  # a full disk must not end those who still run
        _say(f"who runs could not be written down: {failed}")


def _say_how_to_begin(folder: Path, sshd: NativeService, own: Settings) -> None:
    _say(f"listening on http{'s' if own.tls else ''}://{own.listen}")
    _say(f"how to sign in stands in {folder}/api.log; a generated first password, in {own.home / PASSWORD_FILE}")
    _say("its sshd as the first target (it keeps its port and keys):")
    for command in how_to_register(sshd):
        _say(f"  {command}")


def how_to_register(sshd: NativeService) -> tuple[str, str]:
    """The commands that make the cluster's own sshd a target, for who has signed in."""
    key, host_key = quote(str(sshd.home / "user")), quote(str(sshd.home / "host.pub"))
    login = f"--username {quote(getpass.getuser())} --key-file {key}"
    address = f"--host 127.0.0.1 --port {sshd.port} --host-key-file {host_key}"
    return (
        f"opsconductor credential create cluster-key {login}",
        f"opsconductor target add cluster-01 --credential cluster-key {address}",
    )


def _answers(own: Settings) -> bool:
    """Does the API take requests, and is there somebody who could sign in?"""
    host, port = own.listen_address
    asked = HTTPConnection(host, port, timeout=_ANSWERS_WITHIN_S)
    if own.tls:
        asked = HTTPSConnection(host, port, timeout=_ANSWERS_WITHIN_S, context=_of_our_own())
    try:
        asked.request("GET", "/health/ready")
        return asked.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        asked.close()


def _of_our_own() -> ssl.SSLContext:
    """Whatever its certificate says: it is for the names that others call us by."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class RoleProcess:
    """One role in a process of its own, which logs to `<role>.log` in the folder. However we die, it is told to stop."""

    def __init__(self, role: str, folder: Path, environment: Mapping[str, str]) -> None:
        self._command, self._log, self._environment = [program(), role], folder / f"{role}.log", environment
        self._process: Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its number; 0 before it was started."""
        return self._process.pid if self._process else 0

    def launch(self) -> None:
        """Start it, for the first time or again."""
        command, environment = tied_to_us(self._command, signal.SIGTERM), dict(self._environment)
        with open_log(self._log) as log:
            # A session of its own: Ctrl-C reaches this process first, which then stops the roles in order.
            self._process = Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def has_ended(self) -> bool:
        """Was it started, and does it run no more?"""
        return self._process is not None and self._process.poll() is not None

    def ask_to_stop(self) -> None:
        """Nothing happens when it does not run."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def await_end(self, within_s: float) -> None:
        """Wait so long, then end it by force."""
        if self._process is None:
            return
        try:
            self._process.wait(within_s)
        except TimeoutExpired:
            self._process.kill()
            self._process.wait()


def stop_all(roles: Collection[RoleProcess]) -> None:
    """In order, all at once; by force if need be."""
    for role in roles:
        role.ask_to_stop()
    deadline = time.monotonic() + STOP_WITHIN_S
    for role in roles:
        role.await_end(max(0.1, deadline - time.monotonic()))

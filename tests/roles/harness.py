"""How does a whole installation run under test? Every process real, killed and started again by name, never left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from sqlalchemy import NullPool, create_engine, make_url, select, text

from infra.deploy.services.native_process import free_port, tied_to_us
from infra.sql.engine import open_reader
from infra.sql.file_url import sqlite_url
from projections.tables import metadata
from tests.roles.rest import Rest
from tests.support.eventually import eventually

PROGRAM = str(Path(sys.executable).parent / "opsconductor")
LEASE_S = 3
START_WITHIN_S = 120
STOP_WITHIN_S = 15
"""How long an orderly stop may take (HAZARDS §3 case 64)."""

NO_RATE_LIMITS = {
    f"OPSCONDUCTOR_RATE_{kind}": "0" for kind in ("ACCOUNT_READS", "ACCOUNT_WRITES", "ADDRESS_READS", "ADDRESS_WRITES")
}
"""One account sends more here than any should; the limits have tests of their own."""

Rows = dict[str, list[dict[str, Any]]]


class Installation:
    """Processes by name over one data folder; each runs one role, in its own environment where that differs."""

    def __init__(self, home: Path, roles: Mapping[str, Mapping[str, str]], environment: Mapping[str, str]) -> None:
        """`roles` maps a process's name (`commands-2` runs `commands`) to what its environment has beside the common one."""
        self.home, self._roles = home, roles
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.logs = home.parent / f"{home.name}-logs"
        self.logs.mkdir()
        ours = {name: value for name, value in os.environ.items() if not name.startswith("OPSCONDUCTOR_")}
        self.environment = {
            **ours,
            "OPSCONDUCTOR_HOME": str(home),
            "OPSCONDUCTOR_LISTEN": f"127.0.0.1:{self.port}",
            "OPSCONDUCTOR_URL": self.url,
            "OPSCONDUCTOR_LEASE_S": str(LEASE_S),
            **NO_RATE_LIMITS,
            "XDG_CONFIG_HOME": str(home.parent / f"{home.name}-config"),
            **environment,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.rests: list[Rest] = []
        self.logins = 0
        """Who talked to it beside the clients of a test: over REST, and how often the command line signed in."""

    @property
    def names(self) -> list[str]:
        return list(self._roles)

    def start(self, *names: str) -> None:
        """Start these processes, by default all."""
        for name in names or self._roles:
            running = self.processes.get(name)
            assert running is None or running.poll() is not None, f"{name} runs already"
            command = tied_to_us(self.role(name))
            environment = {**self.environment, **self._roles[name]}
            with self.log(name).open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
                )

    def role(self, name: str) -> list[str]:
        """The program of a process and its arguments."""
        return [PROGRAM, name.rstrip("-0123456789")]

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def kill9(self, name: str) -> None:
        """End a process as a crash would."""
        process = self.processes[name]
        assert process.poll() is None, f"{name} had ended by itself with {process.returncode}: {self.log_end(name)}"
        process.kill()
        process.wait()

    def stop(self, name: str, within_s: float = STOP_WITHIN_S) -> float:
        """End a process in order; how many seconds it took. Its status must be 0."""
        began = time.monotonic()
        self.processes[name].send_signal(signal.SIGTERM)
        try:
            status = self.processes[name].wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} did not stop within {within_s:g} s: {self.log_end(name)}") from None
        assert status == 0, f"{name} ended with {status}: {self.log_end(name)}"
        return time.monotonic() - began

    def start_fallen(self) -> list[str]:
        """What a supervisor does: start whatever has ended by itself; whom it started."""
        fallen = [name for name, process in self.processes.items() if process.poll() is not None]
        self.start(*fallen) if fallen else None
        return fallen

    def end_all(self) -> None:
        """Leave no process behind; in order first, so that coverage of the orderly end is not lost, then by force."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + STOP_WITHIN_S
        for process in self.processes.values():
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log_end(self, name: str, size: int = 3000) -> str:
        return self.log(name).read_bytes()[-size:].decode(errors="replace")

    def is_ready(self) -> bool:
        for name, process in self.processes.items():
            assert process.poll() is None, f"{name} ended with {process.returncode}: {self.log_end(name)}"
        return self.answers_ready()

    def answers_ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/health/ready", timeout=20, trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False

    def unready(self) -> dict[str, str]:
        """What the probes of the processes say of those that are not ready; what does not answer is left out."""
        said = {}
        for name, own in self._roles.items():
            with suppress(httpx2.TransportError):
                url = f"http://{own['OPSCONDUCTOR_METRICS_LISTEN']}/health/ready"
                answer = httpx2.get(url, timeout=20, trust_env=False)
                if answer.status_code != 200:
                    said[name] = answer.json()["reason"]
        return said

    def metrics(self, name: str) -> str:
        """What the probe of a process measures."""
        url = f"http://{self._roles[name]['OPSCONDUCTOR_METRICS_LISTEN']}/metrics"
        return httpx2.get(url, timeout=20, trust_env=False).text

    def await_ready(self, within_s: float = START_WITHIN_S) -> None:
        """The API answers, the read models are there, and somebody can sign in."""
        eventually(self.is_ready, within=within_s)
        eventually(self._has_administrator, within=within_s)

    def _has_administrator(self) -> bool:
        said = b"first administrator made"
        return any(said in self.log(name).read_bytes() for name in ("up", "api") if self.log(name).exists())

    def rest(self) -> Rest:
        self.rests.append(made := Rest(self.url, (self.home / "admin-password").read_text().strip()))
        return made

    @property
    def database_url(self) -> str:
        return self.environment.get("OPSCONDUCTOR_DATABASE_URL") or sqlite_url(self.home / "read-models.db")

    def rows(self) -> Rows:
        """Every row of every read model, in key order."""
        engine = open_reader(self.database_url)
        try:
            with engine.connect() as connection:
                return {
                    table.name: [
                        dict(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns)).mappings()
                    ]
                    for table in metadata.sorted_tables
                }
        finally:
            engine.dispose()

    def log_in(self) -> None:
        """Sign the command line in; once more while the shard that all users live in has no owner, as after a kill."""
        eventually(self._logs_in, within=START_WITHIN_S, every=1.0)

    def _logs_in(self) -> bool:
        self.logins += 1
        done = self.command("login", "--user", "admin", "--password-file", str(self.home / "admin-password"))
        assert done.returncode == 0, done.stderr
        return True

    def command(self, *words: str, within_s: float = 120, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line against this installation."""
        return subprocess.run(
            [PROGRAM, *words], capture_output=True, text=True, timeout=within_s, check=False, **{"env": self.environment, **more}
        )


@contextmanager
def _kept(installation: Installation) -> Iterator[Installation]:
    try:
        installation.start()
        installation.await_ready()
        yield installation
    finally:
        installation.end_all()


@contextmanager
def embedded(folder: Path, **environment: str) -> Iterator[Installation]:
    """`opsconductor up` on a data folder of its own, ready."""
    with _kept(Installation(folder / "home", {"up": {}}, environment)) as installation:
        yield installation


@contextmanager
def database(postgres_url: str) -> Iterator[str]:
    """A Postgres database of its own; its URL."""
    name = f"roles_{uuid4().hex[:12]}"
    url = make_url(postgres_url).set(drivername="postgresql+psycopg")
    server = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)  # the server may be another one at the end
    try:
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        server.dispose()


@contextmanager
def cluster(folder: Path, kafka: str, postgres_url: str, redis_url: str) -> Iterator[Installation]:
    """Every role a process of its own, two of those that may be two, on these services; ready."""
    roles = {
        "api": {},
        "commands-1": {"OPSCONDUCTOR_INSTANCE": "one"},
        "commands-2": {"OPSCONDUCTOR_INSTANCE": "two"},
        "projections": {},
        "executor-1": {"OPSCONDUCTOR_INSTANCE": "one"},
        "executor-2": {"OPSCONDUCTOR_INSTANCE": "two"},
        "sweeper": {},
    }
    roles = {name: {**own, "OPSCONDUCTOR_METRICS_LISTEN": f"127.0.0.1:{free_port()}"} for name, own in roles.items()}
    with database(postgres_url) as url:
        environment = {
            "OPSCONDUCTOR_LOG_URL": f"kafka://{kafka}",
            "OPSCONDUCTOR_LOG_PREFIX": f"roles-{uuid4().hex[:8]}",
            "OPSCONDUCTOR_LOG_PARTITIONS": "6",
            "OPSCONDUCTOR_LOG_REPLICATION": "1",
            "OPSCONDUCTOR_DATABASE_URL": url,
            "OPSCONDUCTOR_REDIS_URL": redis_url,
        }
        installation = Installation(folder / "home", roles, environment)
        applied = installation.command("topics", "apply")
        assert applied.returncode == 0, applied.stderr
        with _kept(installation):
            yield installation

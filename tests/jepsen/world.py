"""What is there to be broken? Brokers behind proxies, Postgres, Redis and every role a process of its own, by name.

A supervisor starts again whatever has ended, as it would in production, unless a fault holds it down.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from infra.deploy.services.kafka import KafkaCluster, KafkaNode, kafka_cluster
from infra.deploy.services.kafka_jars import kafka_jars
from infra.deploy.services.native_process import NativeService, free_port
from infra.deploy.services.postgres import PostgresServer
from infra.deploy.services.redis import RedisServer
from infra.deploy.services.together import services_folder
from tests.jepsen.armed import PLANT, RIG
from tests.jepsen.ends import KILLED, End, unforeseen
from tests.jepsen.proxy import Proxies
from tests.roles.harness import Installation, database

OWNERS = ("commands-1", "commands-2", "commands-3")
PREFIX, SHARDS = "jepsen", 6
LISTEN_S = 60
_TOP = Path(__file__).parents[2]
_LOOK_EVERY_S = 0.25


@dataclass(kw_only=True)
class ProxiedNode(KafkaNode):
    """A broker with a second listener, for clients: it tells them to come by the proxy's port."""

    inner: int = field(default_factory=free_port)
    front: int = 0

    def prepare(self) -> None:
        """Add the listener; brokers among themselves use the first one."""
        super().prepare()
        lines = []
        for line in self._settings.read_text().splitlines():
            name = line.partition("=")[0]
            more = {"listeners": self.inner, "advertised.listeners": self.front}.get(name)
            lines.append(f"{line},PROXIED://127.0.0.1:{more}" if more else line)
        text = "\n".join(lines).replace("PLAINTEXT:PLAINTEXT,", "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,")
        self._settings.write_text(f"{text}\ninter.broker.listener.name=PLAINTEXT\n")

    def _java(self, *arguments: str) -> list[str]:
        return [part.replace("-Xmx512m", "-Xmx256m") for part in super()._java(*arguments)]


class Rigged(Installation):
    """Roles that are started armed."""

    def role(self, name: str) -> list[str]:
        """The armed role's own program."""
        return [sys.executable, "-m", "tests.jepsen.armed", *super().role(name)[1:]]


@dataclass
class World:
    """Everything by name: brokers `kafka-1` …, roles `api`, `projections`, `commands-1` …

    `held` are kept down, `ordered` were asked to end; `crashed` says of each role that ended unforeseen what it was.
    """

    brokers: KafkaCluster
    proxies: Proxies
    roles: Installation
    rig: Path
    held: set[str] = field(default_factory=set)
    ordered: set[str] = field(default_factory=set)
    ended: Counter[str] = field(default_factory=Counter)
    crashed: list[str] = field(default_factory=list)
    started: int = 0
    _log_from: Counter[str] = field(default_factory=Counter)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def nodes(self) -> dict[str, KafkaNode]:
        """The brokers by name."""
        return {node.name: node for node in self.brokers.nodes}

    def kill(self, name: str, *, hold: bool = True) -> bool:
        """SIGKILL; with `hold` it stays down until `revive`. Whether there was a process to be killed."""
        with self._lock:
            if hold:
                self.held.add(name)
            return self._signal(name, signal.SIGKILL)

    def freeze(self, name: str) -> bool:
        """SIGSTOP. Whether there was a process to be stopped."""
        with self._lock:
            return self._signal(name, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        with self._lock:
            self._signal(name, signal.SIGCONT)

    def revive(self, name: str) -> None:
        """Let the supervisor start it again."""
        with self._lock:
            self.held.discard(name)

    def is_up(self, name: str) -> bool:
        """Whether its process runs."""
        with self._lock:
            return self._status(name) is None

    def arm(self, owner: str, point: str, action: str) -> Path:
        """Make an owner fall at a crash point; the file that is gone once it has."""
        return self._put(f"{owner}.armed", f"{point} {action}")

    def set_clock(self, name: str, wrong_by_s: float) -> bool:
        """Make a role's clock wrong by so many seconds. Whether there was a process to be misled."""
        self._put(f"{name}.clock", str(wrong_by_s))
        return self.is_up(name)

    def _put(self, name: str, text: str) -> Path:
        """Whole at once: the role may look at any moment. Several threads do so, for one role, too."""
        fresh = self.rig / f"{name}.{threading.get_ident()}.new"
        fresh.write_text(text)
        return fresh.rename(self.rig / name)

    def heal(self) -> None:
        """Nothing is held down, frozen or armed any more."""
        with self._lock:
            self.held.clear()
            for file in self.rig.glob("*.armed"):
                file.unlink(missing_ok=True)
            for name in (*self.nodes, *self.roles.names):
                self._signal(name, signal.SIGCONT)

    def supervise(self, stop: threading.Event) -> None:
        """Start again what has ended, until `stop` is set."""
        while not stop.wait(_LOOK_EVERY_S):
            self.look_after()

    def look_after(self) -> None:
        """Start again what has ended and is not held down."""
        with self._lock:
            for name in (*self.nodes, *self.roles.names):
                if name not in self.held and (status := self._status(name)) is not None:
                    self._start_again(name, status)

    def _start_again(self, name: str, status: int) -> None:
        ordered = name in self.ordered
        self.ordered.discard(name)
        if status != KILLED:
            self.ended[f"{name.rstrip('-0123456789')} with status {status}{' as ordered' * ordered}"] += 1
        self.started += 1
        if name in self.nodes:
            self.nodes[name].launch()
            return
        log = self.roles.log(name).read_bytes()
        what = unforeseen(End(name, status, ordered, log[self._log_from[name] :].decode(errors="replace")))
        if what is not None:
            self.crashed.append(what)
        self._log_from[name] = len(log)
        self.roles.start(name)

    def _process(self, name: str) -> subprocess.Popen[bytes]:
        process = self.nodes[name]._process if name in self.nodes else self.roles.processes[name]
        assert process is not None
        return process

    def _signal(self, name: str, number: signal.Signals) -> bool:
        """Whether it was delivered to a living process."""
        if self._status(name) is not None:
            return False
        os.kill(self._process(name).pid, number)
        return True

    def _status(self, name: str) -> int | None:
        status: int | None = self._process(name).poll()
        return status


@contextmanager
def world(folder: Path, brokers: int, plant: str = "", services: Sequence[str] = ()) -> Iterator[World]:
    """Everything started and ready; nothing of it is left behind. `services` are URLs of Postgres and Redis, else own ones."""
    with ExitStack() as stack:
        proxies = Proxies()
        stack.callback(proxies.close)
        cluster = behind(proxies, kafka_cluster(folder / "kafka", kafka_jars(services_folder()), brokers))
        postgres_url, redis_url = services or _own(folder, stack)
        stack.enter_context(cluster)
        url = stack.enter_context(database(postgres_url))
        rig = folder / "rig"
        rig.mkdir()
        roles = _roles(folder, cluster, url, redis_url, rig, plant)
        stack.callback(roles.end_all)
        made = World(cluster, proxies, roles, rig)
        stack.callback(made.heal)
        applied = roles.command("topics", "apply")
        assert applied.returncode == 0, applied.stderr
        roles.start()
        roles.await_ready(LISTEN_S)
        yield made


def behind(proxies: Proxies, cluster: KafkaCluster) -> KafkaCluster:
    """The same brokers, each with a proxy before it for its clients; not started yet."""
    nodes: list[KafkaNode] = []
    for node in cluster.nodes:
        proxied = ProxiedNode(home=node.home, jars=node.jars, node=node.node, controller=node.controller, voters=node.voters)
        proxied.front = proxies.open(node.node, proxied.inner)
        nodes.append(proxied)
    return KafkaCluster(nodes)


def _own(folder: Path, stack: ExitStack) -> tuple[str, str]:
    started: list[NativeService] = [PostgresServer(home=folder / "postgres"), RedisServer(home=folder / "redis")]
    for service in started:
        stack.enter_context(service)
    return started[0].address, started[1].address


def _roles(folder: Path, cluster: KafkaCluster, url: str, redis_url: str, rig: Path, plant: str) -> Installation:
    fronts = ",".join(f"127.0.0.1:{node.front}" for node in cluster.nodes if isinstance(node, ProxiedNode))
    common = {
        "OPSCONDUCTOR_LOG_URL": f"kafka://{fronts}",
        "OPSCONDUCTOR_LOG_PREFIX": PREFIX,
        "OPSCONDUCTOR_LOG_PARTITIONS": str(SHARDS),
        "OPSCONDUCTOR_LOG_REPLICATION": str(min(3, len(cluster.nodes))),
        "OPSCONDUCTOR_DATABASE_URL": url,
        "OPSCONDUCTOR_REDIS_URL": redis_url,
        "OPSCONDUCTOR_OUTCOME_WAIT_S": "1.5",
        "PYTHONPATH": str(_TOP),
        RIG: str(rig),
    }
    bearers = ("api",) if plant.startswith("api_") else OWNERS
    planted = {PLANT: plant} if plant else {}
    own = {
        name: {"OPSCONDUCTOR_INSTANCE": name, **(planted if name in bearers else {})} for name in ("api", "projections", *OWNERS)
    }
    return Rigged(folder / "home", own, common)


def await_up(there: World, within_s: float) -> bool:
    """Whether every process runs and the API is ready within this time."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if all(there.is_up(name) for name in (*there.nodes, *there.roles.names)) and there.roles.answers_ready():
            return True
        time.sleep(0.2)
    return False

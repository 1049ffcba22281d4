"""What is there to be broken? Kafka, Postgres, Redis and every role a process of its own, by name; and a fleet left alone.

Roles are started as `tests.jepsen.armed` does: exactly as in production but for shorter time-outs.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from infra.deploy.services.kafka import KafkaCluster, KafkaNode
from infra.deploy.services.kafka_jars import kafka_jars
from infra.deploy.services.native_process import NativeService
from infra.deploy.services.postgres import PostgresServer
from infra.deploy.services.redis import RedisServer
from infra.deploy.services.together import services_folder
from tests.chaos.fleet import ChaosFleet
from tests.jepsen.armed import RIG
from tests.jepsen.proxy import Proxies
from tests.jepsen.world import LISTEN_S, PREFIX, SHARDS, Rigged, World
from tests.roles.fleet import FleetServer

ROLES = ("api", "commands-1", "commands-2", "projections", "executor-1", "executor-2", "sweeper")
SERVICES = ("kafka-1", "postgres", "redis")
_TOP = Path(__file__).parents[2]


@dataclass
class House(World):
    """The world with Postgres and Redis among what can be killed and frozen, and orderly ends."""

    services: dict[str, NativeService] = field(default_factory=dict)

    @property
    def nodes(self) -> dict[str, NativeService]:  # type: ignore[override]
        """The services by name."""
        return self.services

    def ask_to_end(self, name: str) -> bool:
        """End it in order, as a restart does; it stays down until `revive`. Whether there was a process to be asked."""
        with self._lock:
            self.held.add(name)
            number = self.services[name].stop_signal() if name in self.services else signal.SIGTERM
            if self._status(name) is not None:
                return False
            self.ordered.add(name)
            os.kill(self._process(name).pid, number)
            return True

    def missing(self) -> list[str]:
        """Who is not up, `ready` when the API does not say that it is."""
        down = [name for name in (*self.nodes, *self.roles.names) if not self.is_up(name)]
        return down or ([] if self.roles.answers_ready() else ["ready"])

    def _signal(self, name: str, number: signal.Signals) -> bool:
        """Postgres is many processes, each a session of its own; all others are one."""
        if name != "postgres" or self._status(name) is not None:
            return super()._signal(name, number)
        pid = self._process(name).pid
        if number == signal.SIGKILL:
            os.kill(pid, signal.SIGSTOP)  # it must not begin to recover from its children's end
        for one in (*children(pid), pid):
            with suppress(ProcessLookupError):
                os.kill(one, number)
        return True


def children(pid: int) -> list[int]:
    """The processes that this one started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(") ")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


@contextmanager
def house(folder: Path) -> Iterator[tuple[House, ChaosFleet]]:
    """Everything started and ready, the fleet's targets and jobs registered; nothing of it is left behind."""
    with ExitStack() as stack:
        services: dict[str, NativeService] = {
            "kafka-1": KafkaNode(home=folder / "kafka", jars=kafka_jars(services_folder())),
            "postgres": PostgresServer(home=folder / "postgres"),
            "redis": RedisServer(home=folder / "redis"),
        }
        servers = [FleetServer(home=folder / f"sshd-{letter}") for letter in "ab"]
        for service in (*services.values(), *servers):
            stack.callback(service.stop)
            service.launch()
        for service in (*services.values(), *servers):
            service.await_ready()
        made = _house(folder, services)
        stack.callback(made.roles.end_all)
        stack.callback(made.proxies.close)
        stack.callback(made.heal)
        applied = made.roles.command("topics", "apply")
        assert applied.returncode == 0, applied.stderr
        made.roles.start()
        made.roles.await_ready(LISTEN_S)
        fleet = ChaosFleet(servers, folder / "traces")
        rest = made.roles.rest()
        fleet.register(rest)
        rest.close()
        yield made, fleet


def _house(folder: Path, services: dict[str, NativeService]) -> House:
    rig = folder / "rig"
    rig.mkdir()
    common = {
        "OPSCONDUCTOR_LOG_URL": f"kafka://{services['kafka-1'].address}",
        "OPSCONDUCTOR_LOG_PREFIX": PREFIX,
        "OPSCONDUCTOR_LOG_PARTITIONS": str(SHARDS),
        "OPSCONDUCTOR_LOG_REPLICATION": "1",
        "OPSCONDUCTOR_DATABASE_URL": services["postgres"].address,
        "OPSCONDUCTOR_REDIS_URL": services["redis"].address,
        "OPSCONDUCTOR_OUTCOME_WAIT_S": "1.5",
        "PYTHONPATH": str(_TOP),
        RIG: str(rig),
    }
    roles = Rigged(folder / "home", {name: {"OPSCONDUCTOR_INSTANCE": name} for name in ROLES}, common)
    kafka = services["kafka-1"]
    assert isinstance(kafka, KafkaNode)
    return House(KafkaCluster([kafka]), Proxies(), roles, rig, services=services)

"""How does an Apache Kafka broker (KRaft, broker and controller in one) run on this machine?"""

import contextlib
import socket
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from infra.deploy.services.native_process import NativeService, ServiceFailed, free_port, program

_CLUSTER_ID = "b3BzY29uZHVjdG9yLWxvYw"
_API_VERSIONS = struct.pack(">hhih", 18, 0, 1, -1)
_HEAP = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-Dlog4j2.level=WARN")

# Low limits let tests shorten time-outs and see dead producers' transactions aborted within a second.
_SETTINGS = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
num.network.threads=2
num.io.threads=4
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=8388608
auto.create.topics.enable=false
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
offsets.topic.num.partitions=4
offsets.topic.replication.factor={replication}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={replication}
transaction.state.log.min.isr={min_isr}
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
unclean.leader.election.enable=false
min.insync.replicas={min_isr}
"""


@dataclass(kw_only=True)
class KafkaNode(NativeService):
    """One broker; `voters` names every node's controller as `id@host:port` (by default this node alone)."""

    jars: Path
    node: int = 1
    controller: int = field(default_factory=free_port)
    voters: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`kafka-1`, `kafka-2` …"""
        return f"kafka-{self.node}"

    @property
    def address(self) -> str:
        """The bootstrap address."""
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Write the settings and format the data folder when it is new."""
        data = self.home / f"{self.name}-data"
        replication = min(3, len(self.voters) or 1)
        self._settings.write_text(
            _SETTINGS.format(
                node=self.node,
                voters=",".join(self.voters) or f"{self.node}@127.0.0.1:{self.controller}",
                port=self.port,
                controller=self.controller,
                data=data,
                replication=replication,
                min_isr=max(1, replication - 1),
            )
        )
        if not (data / "meta.properties").exists():
            self._format()

    @property
    def _settings(self) -> Path:
        return self.home / f"{self.name}.properties"

    def _java(self, *arguments: str) -> list[str]:
        return [program("java"), *_HEAP, "-cp", f"{self.jars}/*", *arguments]

    def _format(self) -> None:
        command = self._java("kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(self._settings))
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if ran.returncode:
            raise ServiceFailed(f"Kafka's storage could not be formatted: {ran.stdout}{ran.stderr}")

    def command(self) -> Sequence[str]:
        """The broker."""
        return self._java("kafka.Kafka", str(self._settings))

    def ready(self) -> bool:
        """A broker answers requests only once the controller has let it in."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as link:
            link.sendall(struct.pack(">i", len(_API_VERSIONS)) + _API_VERSIONS)
            return len(link.recv(4)) == 4
        return False


@dataclass
class KafkaCluster:
    """Some brokers that know each other; a context manager."""

    nodes: list[KafkaNode]

    @property
    def address(self) -> str:
        """The bootstrap addresses of all."""
        return ",".join(node.address for node in self.nodes)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for node in self.nodes:
                stack.callback(node.stop)
                node.launch()
            for node in self.nodes:
                node.await_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()


def kafka_cluster(home: Path, jars: Path, brokers: int) -> KafkaCluster:
    """A cluster of so many brokers, not started yet."""
    controllers = [free_port() for _ in range(brokers)]
    voters = tuple(f"{n}@127.0.0.1:{port}" for n, port in enumerate(controllers, 1))
    return KafkaCluster(
        [KafkaNode(home=home, jars=jars, node=n, controller=port, voters=voters) for n, port in enumerate(controllers, 1)]
    )

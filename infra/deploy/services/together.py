"""How are all services started and stopped together?

`running` keeps them in the foreground for as long as its block lasts; `up` leaves them running and writes down who they are,
`down` stops exactly those.
"""

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.deploy.services.kafka import KafkaNode
from infra.deploy.services.kafka_jars import kafka_jars
from infra.deploy.services.kept_ports import KeptPorts
from infra.deploy.services.native_process import NativeService, start_ticks
from infra.deploy.services.postgres import PostgresServer
from infra.deploy.services.redis import RedisServer
from infra.deploy.services.sshd import SshServer

FOLDER_VARIABLE = "OPSCONDUCTOR_SERVICES_DIR"
_RECORD = "services.json"


@dataclass(frozen=True, slots=True)
class Running:
    """One started service: its address, its pid, when it started (see `start_ticks`) and the signal that ends it in order."""

    name: str
    address: str
    pid: int
    started: int
    stop_signal: int


def services_folder() -> Path:
    """Where jars and data are kept unless the caller says otherwise: $OPSCONDUCTOR_SERVICES_DIR, else `.services` here."""
    return Path(os.environ.get(FOLDER_VARIABLE) or ".services").resolve()


def _unsaid(message: str) -> None:
    """Nobody is told."""


def _all(folder: Path, tied: bool, say: Callable[[str], None] = _unsaid) -> list[NativeService]:
    jars, port = kafka_jars(folder), KeptPorts(folder, say).of
    return [
        KafkaNode(home=folder / "kafka", jars=jars, tied=tied, port=port("kafka-1"), controller=port("kafka-1's controller")),
        PostgresServer(home=folder / "postgres", tied=tied, port=port("postgres")),
        RedisServer(home=folder / "redis", tied=tied, port=port("redis")),
        SshServer(home=folder / "sshd", tied=tied, port=port("sshd")),
    ]


@contextlib.contextmanager
def running(folder: Path, say: Callable[[str], None] = _unsaid) -> Iterator[dict[str, NativeService]]:
    """All services by name (`kafka-1`, `postgres`, `redis`, `sshd`), started together, stopped when the block ends.

    They die with this process, however it dies, and are found on the same ports by the next one on this folder; `say` is told
    where that could not be. Raises `ServiceFailed`; then none is left running.
    """
    services = _all(folder, tied=True, say=say)
    with contextlib.ExitStack() as stack:
        _start(services, stack)
        yield {service.name: service for service in services}


def _start(services: list[NativeService], stack: contextlib.ExitStack) -> None:
    for service in services:
        stack.callback(service.stop)
        service.launch()
    for service in services:
        service.await_ready()


def up(folder: Path) -> list[Running]:
    """Start all services, leave them running and write them down in the folder; those of an earlier `up` that still run stay.

    Raises `ServiceFailed`; then none is left running.
    """
    if alive := recorded(folder):
        return alive
    services = _all(folder, tied=False)
    with contextlib.ExitStack() as stack:
        _start(services, stack)
        started = [Running(s.name, s.address, s.pid, start_ticks(s.pid) or 0, s.stop_signal()) for s in services]
        record = folder / _RECORD
        record.touch(mode=0o600)  # Postgres' password is in it
        record.write_text(json.dumps([asdict(one) for one in started]))
        stack.pop_all()
    return started


def recorded(folder: Path) -> list[Running]:
    """The services of an earlier `up` that still run."""
    try:
        known = [Running(**one) for one in json.loads((folder / _RECORD).read_text())]
    except FileNotFoundError:
        return []
    return [one for one in known if start_ticks(one.pid) == one.started]


def down(folder: Path, within_s: float = 30.0) -> list[Running]:
    """Stop what `up` started in this folder, in order, after `within_s` seconds by force; whom it stopped."""
    stopping = recorded(folder)
    for one in stopping:
        os.kill(one.pid, one.stop_signal)
    deadline = time.monotonic() + within_s
    while left := recorded(folder):
        if time.monotonic() > deadline:
            for one in left:
                os.kill(one.pid, signal.SIGKILL)
        time.sleep(0.1)
    (folder / _RECORD).unlink(missing_ok=True)
    return stopping


def erase(folder: Path) -> None:
    """Forget the services' data, not the jars; they must be down."""
    for name in ("kafka", "redis", "sshd"):
        shutil.rmtree(folder / name, ignore_errors=True)
    shutil.rmtree(PostgresServer(home=folder / "postgres").data, ignore_errors=True)
    shutil.rmtree(folder / "postgres", ignore_errors=True)

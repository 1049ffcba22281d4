"""Does `opsconductor cluster` look after everything it starts, and is nothing left of it, and nothing lost, when it is killed?"""

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from infra.cli.cluster import ROLES
from infra.deploy.services.kafka_jars import kafka_jars
from infra.deploy.services.native_process import ServiceUnavailable, start_ticks, tied_to_us
from infra.deploy.services.postgres import PostgresServer
from infra.deploy.services.together import services_folder
from tests.roles.harness import PROGRAM, Installation
from tests.support.eventually import eventually
from tests.support.services import missing, scratch_folder

pytestmark = [pytest.mark.services, pytest.mark.slow]

SERVICES = ("kafka-1", "postgres", "redis", "sshd")


class Cluster:
    """A supervisor in a folder, started as often as a test wants."""

    def __init__(self, installation: Installation) -> None:
        self.installation, self.folder = installation, installation.home / "cluster"
        self.said_in = installation.logs / "cluster.log"

    def said(self) -> str:
        return self.said_in.read_text()

    def pids(self) -> dict[str, tuple[int, int]]:
        return {name: (pid, ticks) for name, (pid, ticks) in json.loads((self.folder / "processes.json").read_text()).items()}

    def ports(self) -> dict[str, int]:
        return dict(json.loads((self.folder / "ports.json").read_text()))

    @contextmanager
    def runs(self) -> Iterator[subprocess.Popen[bytes]]:
        """Until the block ends, from when it listens."""
        with self.said_in.open("wb") as log:
            process = subprocess.Popen(
                tied_to_us([PROGRAM, "cluster"]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.installation.environment, start_new_session=True,
            )  # fmt: skip
        try:
            eventually(lambda: self._listens(process), within=240, every=0.2)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(90)

    def _listens(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, self.said()
        return "its sshd as the first target" in self.said()

    def registers_its_sshd(self) -> None:
        """By the two commands it printed."""
        printed = [shlex.split(line) for line in self.said().splitlines() if line.startswith("  opsconductor ")]
        assert len(printed) == 2, self.said()
        for words in printed:
            done = self.installation.command(*words[1:])
            assert done.returncode == 0, done.stderr

    def reaches_its_sshd(self) -> bool:
        return self.installation.command("target", "check", "cluster-01").returncode == 0


def nobody_is_left_of(started: dict[str, tuple[int, int]]) -> None:
    assert [name for name, (pid, ticks) in started.items() if start_ticks(pid) == ticks] == []


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with scratch_folder() as folder:
        made = Cluster(Installation(folder / "home", {}, {"OPSCONDUCTOR_LOG_PARTITIONS": "2"}))
        made.folder.mkdir(parents=True)
        try:
            jars = kafka_jars(services_folder())
        except ServiceUnavailable as absent:
            missing("Kafka", absent)
        (made.folder / jars.name).symlink_to(jars)
        yield made
        shutil.rmtree(
            PostgresServer(home=made.folder / "postgres").data, ignore_errors=True
        )  # started by root, it lies elsewhere


def test_killed_services_are_started_again_where_they_were_and_a_killed_supervisor_leaves_nobody_and_loses_no_target(
    cluster: Cluster,
) -> None:
    with cluster.runs() as supervisor:
        cluster.installation.log_in()  # at once
        cluster.registers_its_sshd()
        before, ports = cluster.pids(), cluster.ports()
        assert before.keys() == {*SERVICES, *ROLES}
        refused = cluster.installation.command("cluster")
        assert refused.returncode == 1 and f"already: pid {supervisor.pid}" in refused.stderr
        for name in SERVICES:
            os.kill(before[name][0], signal.SIGKILL)
        eventually(lambda: all(cluster.pids()[name] != before[name] for name in SERVICES))
        for name in SERVICES:
            assert f"{name} ended; starting it again\n" in cluster.said()
        eventually(cluster.installation.answers_ready, within=120, every=0.5)
        eventually(cluster.reaches_its_sshd, within=180, every=1)
        started = cluster.pids()
        supervisor.kill()
        supervisor.wait()
        eventually(lambda: nobody_is_left_of(started), within=40)
    with cluster.runs():
        assert cluster.ports() == ports
        eventually(cluster.installation.answers_ready, within=120, every=0.5)
        cluster.installation.log_in()
        eventually(cluster.reaches_its_sshd, within=180, every=1)


@pytest.mark.faults  # the one before kills it in every run
def test_a_cluster_whose_supervisor_was_killed_can_be_started_at_once(cluster: Cluster) -> None:
    with cluster.runs() as supervisor:
        started = cluster.pids()
        supervisor.kill()
        supervisor.wait()
        with cluster.runs():
            nobody_is_left_of(started)
            assert "waiting for what the cluster before has left: " in cluster.said()
            assert cluster.pids().keys() == {*SERVICES, *ROLES}

"""Who gets to know the first administrator's password? Whoever sits at the terminal, or may read its file, and nobody else."""

import os
import pty
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.cli.cluster import make_closed
from infra.deploy.services.kafka_jars import kafka_jars
from infra.deploy.services.native_process import ServiceUnavailable, tied_to_us
from infra.deploy.services.postgres import PostgresServer
from infra.deploy.services.together import services_folder
from tests.roles.harness import PROGRAM, Installation, embedded
from tests.support.eventually import eventually
from tests.support.services import missing, scratch_folder

pytestmark = pytest.mark.services

GIVEN = "given-by-who-set-it-up"


def opened_to_others(*folders: Path) -> dict[str, str]:
    """What others than the owner may read, write or enter, below these folders."""
    modes = {file: file.lstat().st_mode for folder in folders for file in [folder, *folder.rglob("*")] if not file.is_symlink()}
    return {str(file): oct(mode & 0o777) for file, mode in modes.items() if mode & 0o077}


def test_in_a_log_only_the_file_is_named(tmp_path: Path) -> None:
    with embedded(tmp_path) as installation:
        file, said = installation.home / "admin-password", installation.log("up").read_text()
        password = file.read_text().strip()
        assert f"first administrator made: user admin, the password is in {file}" in said
        assert password not in said and file.stat().st_mode & 0o777 == 0o600
        assert installation.rest().get("/me")["name"] == "admin"


def test_one_that_was_given_is_not_repeated(tmp_path: Path) -> None:
    with embedded(tmp_path, OPSCONDUCTOR_ADMIN_PASSWORD=GIVEN) as installation:
        said = installation.log("up").read_text()
        assert "first administrator made: user admin, with the password you gave" in said and GIVEN not in said


def test_at_a_terminal_it_is_shown_once(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "home", {}, {})
    shown = shown_at_terminal(installation)
    password = (installation.home / "admin-password").read_bytes().strip()
    assert shown.count(password) == 1 and b"first administrator made" in shown, shown
    again = shown_at_terminal(installation)
    assert b"admin-password" in again and password not in again


def shown_at_terminal(installation: Installation) -> bytes:
    """What a terminal shows of an embedded server until it has said how to sign in and was ended."""
    shown, (ours, theirs) = b"", pty.openpty()
    command = tied_to_us([PROGRAM, "up"])
    with subprocess.Popen(command, env=installation.environment, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        until = time.monotonic() + 120
        while time.monotonic() < until:
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    shown += os.read(ours, 65536)
                except OSError:  # the terminal's other side is closed
                    break
            if b"sign in:" in shown and b"listening on" in shown:
                process.terminate()
        assert process.wait(30) == 0, shown
    os.close(ours)
    return shown


@pytest.mark.parametrize("before", ["nothing", "a folder", "Postgres' data"])
def test_the_folder_of_a_cluster_is_its_owner_s_but_where_postgres_has_to_pass_as_before(tmp_path: Path, before: str) -> None:
    folder = tmp_path / "cluster"
    if before != "nothing":
        folder.mkdir()
        folder.chmod(0o755)
    if before == "Postgres' data":
        (folder / "postgres" / "postgres-data").mkdir(parents=True)
    make_closed(folder)
    passes = before == "Postgres' data" and not os.geteuid()
    assert oct(folder.stat().st_mode & 0o777) == oct(0o711 if passes else 0o700)


@contextmanager
def whole_cluster(home: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """`opsconductor cluster`, until somebody can sign in; what it says itself is in the file."""
    said = home.parent / "cluster.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            tied_to_us([PROGRAM, "cluster"]),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True, umask=0o022,
        )  # fmt: skip
    try:
        eventually(
            lambda: process.poll() is None and b"sign in:" in (home / "cluster/api.log").read_bytes(), within=240, every=0.5
        )
        yield said
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)


@pytest.fixture
def cluster_home() -> Iterator[Path]:
    """A data folder as an earlier version left it: others may enter it and read the logs."""
    with scratch_folder() as folder:
        cluster = folder / "home" / "cluster"
        cluster.mkdir(parents=True)
        (cluster / "kafka").mkdir()
        for log in (cluster / "api.log", cluster / "kafka" / "kafka-1.log"):
            log.write_text("from before\n")
            log.chmod(0o644)
        try:
            jars = kafka_jars(services_folder())
        except ServiceUnavailable as absent:
            missing("Kafka", absent)
        (cluster / jars.name).symlink_to(jars)
        yield folder / "home"
        shutil.rmtree(PostgresServer(home=cluster / "postgres").data, ignore_errors=True)  # started by root, it lies elsewhere


def test_nobody_else_reads_anything_of_a_cluster_on_this_machine(cluster_home: Path) -> None:
    environment = Installation(cluster_home, {}, {"OPSCONDUCTOR_LOG_PARTITIONS": "2"}).environment
    with whole_cluster(cluster_home, environment) as said:
        password = (cluster_home / "admin-password").read_bytes().strip()
        logs = {file: file.read_bytes() for file in [said, *cluster_home.rglob("*.log")]}
        assert len(logs) >= 9, sorted(logs)
        assert [str(file) for file, content in logs.items() if password in content] == []
        cluster = cluster_home / "cluster"
        assert opened_to_others(cluster_home).keys() == {str(cluster_home), str(cluster / "kafka")}, "what was there before"
        assert cluster.stat().st_mode & 0o777 == 0o700
        words = ["login", "--user", "admin", "--password-file", str(cluster_home / "admin-password")]
        assert subprocess.run([PROGRAM, *words], env=environment, timeout=120, check=False).returncode == 0

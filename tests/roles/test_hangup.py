"""Does whatever is started at a terminal end in order when that is closed, and outlive it under nohup?"""

import contextlib
import fcntl
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.deploy.services.kafka_jars import kafka_jars
from infra.deploy.services.native_process import ServiceUnavailable
from infra.deploy.services.postgres import PostgresServer
from infra.deploy.services.together import services_folder
from tests.roles.harness import PROGRAM, Installation
from tests.support.services import missing, scratch_folder

HANGS_UP = """
import asyncio, os, signal
from infra.wiring import supervise

async def role(stop):
    os.kill(os.getpid(), signal.SIGHUP)
    try:
        await asyncio.wait_for(stop.wait(), WITHIN_S)
        print("stops")
    except TimeoutError:
        print("goes on")
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()

asyncio.run(supervise.run_roles({"executor": role}))
"""


def _heeds_hangups() -> None:
    """However these tests were started."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _has_terminal() -> None:
    _heeds_hangups()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def hung_up(within_s: float, *before: str) -> str:
    program = HANGS_UP.replace("WITHIN_S", str(within_s))
    done = subprocess.run(
        [*before, sys.executable, "-c", program],
        capture_output=True, text=True, timeout=120, check=False, preexec_fn=_heeds_hangups,
    )  # fmt: skip
    assert done.returncode == 0, done
    return done.stdout


def test_roles_end_in_order_when_their_terminal_is_closed() -> None:
    assert hung_up(60) == "stops\n"


def test_who_was_started_to_outlive_its_terminal_goes_on() -> None:
    assert hung_up(0.5, "nohup") == "goes on\n"


@contextmanager
def terminal(environment: Mapping[str, str], *words: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A command at a terminal of its own, and our end of that."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, *words],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
        preexec_fn=_has_terminal,
    )  # fmt: skip
    os.close(theirs)
    try:
        yield process, ours
    finally:
        with contextlib.suppress(OSError):
            os.close(ours)
        process.terminate()
        process.wait(90)


def read_until(end: bytes, ours: int, within_s: float) -> None:
    shown, until = b"", time.monotonic() + within_s
    while end not in shown:
        assert time.monotonic() < until, shown
        if select.select([ours], [], [], 0.5)[0]:
            shown += os.read(ours, 65536)


@pytest.mark.services
def test_a_server_whose_terminal_is_closed_ends_well(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "home", {}, {})
    with terminal(installation.environment, "up") as (process, ours):
        read_until(b"sign in:", ours, 120)
        os.close(ours)
        assert process.wait(60) == 0


@pytest.mark.services
@pytest.mark.slow
def test_a_cluster_whose_terminal_is_closed_stops_its_roles_and_then_its_services() -> None:
    with scratch_folder() as folder:
        installation = Installation(folder / "home", {}, {"OPSCONDUCTOR_LOG_PARTITIONS": "2"})
        cluster = installation.home / "cluster"
        cluster.mkdir(parents=True)
        try:
            jars = kafka_jars(services_folder())
        except ServiceUnavailable as absent:
            missing("Kafka", absent)
        (cluster / jars.name).symlink_to(jars)
        try:
            with terminal(installation.environment, "cluster") as (process, ours):
                read_until(b"its sshd as the first target", ours, 240)
                os.close(ours)
                assert process.wait(90) == 0
            logs = {name: (cluster / name / f"{name}.log").read_text() for name in ("postgres", "redis")}
            assert "database system is shut down" in logs["postgres"] and "ready to exit" in logs["redis"], "in order"
        finally:
            shutil.rmtree(
                PostgresServer(home=cluster / "postgres").data, ignore_errors=True
            )  # started by root, it lies elsewhere

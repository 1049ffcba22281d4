"""What does the embedded server do when there is no room left, and does it go on once there is again?

Two ways without room: a file system that is full (a small tmpfs, where this account may mount one), and a limit on the size of
the process's files, which works everywhere. SQLite tells the first from other failures of a write, and the second not.
"""

import os
import resource
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.roles.fleet import caught_up, nothing_lost, same_after_rebuild, versions_are_gapless
from tests.roles.harness import Installation, embedded
from tests.roles.rest import Rest
from tests.support.eventually import eventually
from tests.support.services import scratch_folder

pytestmark = pytest.mark.services

TMPFS_BYTES = 32 * 1024 * 1024
LEFT_BYTES = 256 * 1024
STEPS, STEP_BYTES = 30, 8 * 1024
"""Room comes back in steps so small that it lacks once for a command, and once for what the owner makes of it."""

LOG_CODES = {"log_unavailable", "result_unknown"}
NOW_CODES = {*LOG_CODES, "vault_unavailable", "read_models_unavailable", "projection_lag", "overloaded"}
"""What a 503 may say while there is no room."""

ENDING = {"shutting_down", "no answer"}
"""And what is told by a server that a role's end stops."""


@contextmanager
def tmpfs() -> Iterator[Path]:
    """A file system of its own that may be full. Raises `CalledProcessError` where none may be mounted."""
    with scratch_folder() as folder:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(folder)], check=True, capture_output=True
        )
        try:
            yield folder
        finally:
            subprocess.run(["umount", str(folder)], check=True)


def may_mount() -> bool:
    try:
        with tmpfs():
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


class FullFileSystem:
    """Ballast takes all the room there is but a little."""

    def __init__(self, installation: Installation) -> None:
        self._ballast = installation.home.parent / "ballast"

    def fill(self) -> None:
        room = os.statvfs(self._ballast.parent)
        with self._ballast.open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, room.f_bavail * room.f_frsize - LEFT_BYTES)

    def give(self, size: int) -> None:
        """So much room more."""
        os.truncate(self._ballast, self._ballast.stat().st_size - size)

    def clear(self) -> None:
        self._ballast.unlink()


class LimitedFiles:
    """No file of the process may grow beyond what the largest has now, and a little."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def fill(self) -> None:
        sizes = [file.stat().st_size for file in self._installation.home.rglob("*") if file.is_file()]
        self._limit(max(sizes) + LEFT_BYTES)

    def give(self, size: int) -> None:
        """So much room more."""
        self._limit(self._now + size)

    def clear(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        self._now = size
        process = self._installation.processes["up"]
        if process.poll() is None:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_without_room_for_a_process_s_files_nothing_acknowledged_is_lost_and_it_goes_on_with_room(tmp_path: Path) -> None:
    with embedded(tmp_path, OPSCONDUCTOR_OUTCOME_WAIT_S="0.5") as installation:
        fill_and_check(installation, LimitedFiles(installation))


def test_on_a_full_file_system_nothing_acknowledged_is_lost_and_it_goes_on_with_room() -> None:
    if not may_mount():
        # Even where all services have to be there: a right that an account lacks is nothing that can be installed.
        pytest.skip("this account may not mount a file system of its own; a limit on its files' size is tested instead")
    with tmpfs() as folder, embedded(folder, OPSCONDUCTOR_OUTCOME_WAIT_S="0.5") as installation:
        fill_and_check(installation, FullFileSystem(installation))


class Writes:
    """Credentials and targets in turn, each under a key of its own; `told` are the answers, by name. A target needs no vault."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self.keys: dict[str, str] = {}
        self.told: dict[str, tuple[int, str]] = {}

    def send(self, name: str) -> tuple[int, str]:
        """One request; its status and problem code."""
        key = self.keys.setdefault(name, str(uuid4()))
        try:
            answer = self._rest.ask("POST", *meant(name), Idempotency_Key=key)
        except httpx2.TransportError:
            self.told[name] = (503, "no answer")
            return self.told[name]
        assert answer.status_code < 400 or answer.headers["content-type"] == "application/problem+json"
        self.told[name] = (answer.status_code, answer.json()["code"] if answer.status_code >= 400 else "")
        return self.told[name]

    def refused(self) -> list[str]:
        return [name for name, (status, _) in self.told.items() if status not in (200, 201)]


def meant(name: str) -> tuple[str, dict[str, Any]]:
    """Path and body of the write of this name."""
    common = {"name": name, "title": "t" * 200}
    if name.startswith("target"):
        return "/targets", {**common, "host": "h", "connection": {"kind": "ssh", "credential": "credential-0"}}
    return "/credentials", {**common, "kind": "password", "secret": {"username": "u", "password": "p" * 4000}}


def fill_and_check(installation: Installation, disk: FullFileSystem | LimitedFiles) -> None:
    rest = installation.rest()
    writes = Writes(rest)
    for n in range(10):
        assert writes.send(f"credential-{n}") == (201, "")
    disk.fill()
    try:
        for n in range(10, 3000):
            writes.send(f"credential-{n}")
            if writes.send(f"target-{n}")[1] in LOG_CODES and len(writes.refused()) > 10:
                break
        for n in range(STEPS):
            disk.give(STEP_BYTES)
            writes.send(f"target-{3000 + n}")
        answers = Counter(writes.told.values())
        print(answers)
        assert {status for status, _ in answers} <= {201, 202, 503}, answers
        assert {code for status, code in answers if status == 503} <= (
            NOW_CODES if running(installation) else NOW_CODES | ENDING
        ), answers
        assert LOG_CODES & {code for _, code in answers}, "the log never wanted for room"
        if running(installation):
            assert rest.ask("GET", "/credentials?limit=1").status_code in (200, 503)
    finally:
        disk.clear()
    eventually(lambda: goes_on(installation, writes), within=120, every=0.5)
    for name in writes.refused():
        rest.write("POST", *meant(name), Idempotency_Key=writes.keys[name])
    _check(installation, rest, writes)


def running(installation: Installation) -> bool:
    return installation.processes["up"].poll() is None


def goes_on(installation: Installation, writes: Writes) -> bool:
    """Whether a write is acknowledged again; who ended for want of room is started, as a supervisor does."""
    if fallen := installation.start_fallen():
        print(f"ended by itself: {installation.log_end(fallen[0], 400)}")
    return installation.answers_ready() and writes.send("credential-after")[0] in (200, 201)


def _check(installation: Installation, rest: Rest, writes: Writes) -> None:
    eventually(lambda: caught_up(rest), within=120)
    rows = installation.rows()
    made = Counter(row["stream"] for row in rows["events"] if row["type"] in ("CredentialCreated", "TargetRegistered"))
    assert made == Counter(f"{name.partition('-')[0]}/{name}" for name in writes.told)
    nothing_lost(rows, rest.acknowledged)
    versions_are_gapless(rows)
    assert rest.ask("POST", "/audit/verify").json()["bad"] == []
    same_after_rebuild(installation)

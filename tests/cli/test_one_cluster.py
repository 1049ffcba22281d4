"""Is a folder one supervisor's, and does the next one end what a killed one has left before it begins?"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.cli import cluster, one_cluster
from infra.cli.one_cluster import RunsAlready, alone_in, end_left_over, write_down
from infra.deploy.services.native_process import start_ticks, tied_to_us
from tests.support.eventually import eventually

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
WILLING = "import time; print(flush=True); time.sleep(600)"


def started(program: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(tied_to_us([sys.executable, "-c", program]), stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline()
    return process


@pytest.fixture
def left() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Two that a killed supervisor might have left."""
    processes = {"api": started(WILLING), "executor": started(STUBBORN)}
    yield processes
    for process in processes.values():
        process.kill()
        process.communicate()


def test_a_second_supervisor_is_told_who_has_the_folder(tmp_path: Path) -> None:
    with alone_in(tmp_path), pytest.raises(RunsAlready, match=f"already: pid {os.getpid()}$"), alone_in(tmp_path):
        pass
    with alone_in(tmp_path):
        pass


def test_the_folder_is_free_as_soon_as_its_supervisor_is_dead(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from infra.cli.one_cluster import alone_in\n"
        "with alone_in(Path(sys.argv[1])): print(flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        with pytest.raises(RunsAlready, match=f"pid {other.pid}$"), alone_in(tmp_path):
            pass
        other.kill()
    with alone_in(tmp_path):
        pass


def test_what_is_left_over_is_told_to_stop_and_after_a_while_killed(
    tmp_path: Path, left: dict[str, subprocess.Popen[bytes]]
) -> None:
    write_down(tmp_path, {name: process.pid for name, process in left.items()})
    said: list[str] = []
    end_left_over(tmp_path, 0.5, said.append)
    assert {name: process.wait(0) for name, process in left.items()} == {"api": -signal.SIGTERM, "executor": -signal.SIGKILL}
    [line] = said
    assert f"api pid {left['api'].pid}, executor pid {left['executor'].pid}" in line
    end_left_over(tmp_path, 0.5, said.append)
    assert len(said) == 1, "nothing is left"


def test_a_process_that_has_merely_got_the_number_is_left_alone(tmp_path: Path, left: dict[str, subprocess.Popen[bytes]]) -> None:
    pid = left["api"].pid
    ticks = start_ticks(pid)
    assert ticks is not None
    (tmp_path / "processes.json").write_text(json.dumps({"api": [pid, ticks - 1]}))
    end_left_over(tmp_path, 0, print)
    assert left["api"].poll() is None


def test_where_the_system_does_not_tell_since_when_a_process_runs_none_is_taken_for_ours(
    tmp_path: Path, left: dict[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_cluster, "start_ticks", lambda pid: 0)
    write_down(tmp_path, {"api": left["api"].pid})
    end_left_over(tmp_path, 0, pytest.fail)
    assert left["api"].poll() is None


def test_what_does_not_die_is_not_waited_for_without_end(
    tmp_path: Path, left: dict[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a disk hangs: here nothing reaches it."""
    monkeypatch.setattr(one_cluster, "_DIES_WITHIN_S", 0.2)
    monkeypatch.setattr(one_cluster, "_signalled", lambda processes, number: None)
    write_down(tmp_path, {"executor": left["executor"].pid})
    with pytest.raises(RunsAlready, match="does not end"):
        end_left_over(tmp_path, 0, print)


def test_a_full_disk_does_not_end_who_still_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "processes.json.new").symlink_to("/dev/full")
    cluster._write_down(tmp_path, {})
    assert "who runs could not be written down" in capsys.readouterr().err


@pytest.mark.parametrize("torn", [None, "", "[]", '{"api": 1}'])
def test_where_nothing_was_written_down_nothing_is_waited_for(tmp_path: Path, torn: str | None) -> None:
    if torn is not None:
        (tmp_path / "processes.json").write_text(torn)
    end_left_over(tmp_path, 0, pytest.fail)


def test_who_is_tied_by_a_signal_gets_that_one_when_we_die(tmp_path: Path) -> None:
    ends = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (open(sys.argv[1], 'w').close(), sys.exit()))\n"
        "print(flush=True); time.sleep(600)"
    )
    program = (
        "import signal, subprocess, sys; from infra.deploy.services.native_process import tied_to_us\n"
        "subprocess.Popen(tied_to_us([sys.executable, '-c', *sys.argv[1:]], signal.SIGTERM)); sys.stdin.read()"
    )
    file = tmp_path / "ended-in-order"
    with subprocess.Popen([sys.executable, "-c", program, ends, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdout.readline()
        parent.kill()
    eventually(file.exists)

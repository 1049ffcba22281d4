"""A thousand seeds are lived through beside the other tests, in the processor time that these leave: most of them mostly wait."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import pytest

from infra.deploy.services.native_process import tied_to_us

TOP = Path(__file__).parent.parent.parent
_SEEDS, _WITHIN_S = "1000", 500
_BEGUN = pytest.StashKey[tuple[subprocess.Popen[bytes], IO[bytes]]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin as soon as it is known that somebody will ask."""
    asked = any("thousand_seeds" in getattr(item, "fixturenames", ()) for item in session.items)
    if asked and not session.config.option.collectonly:
        said = tempfile.TemporaryFile()  # noqa: SIM115 - open until the session is over
        command = [sys.executable, "-m", "tests.simulate", _SEEDS, "--jobs", "2"]
        quiet = {"stdout": said, "stderr": said, "stdin": subprocess.DEVNULL}
        running = subprocess.Popen(tied_to_us(["nice", "-n", "19", *command]), cwd=TOP, start_new_session=True, **quiet)
        # Where Linux shares the processor out by session first, being nice counts only within one, unless the session is, too.
        with contextlib.suppress(OSError):
            Path(f"/proc/{running.pid}/autogroup").write_text("19")
        session.config.stash[_BEGUN] = (running, said)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave nothing behind."""
    if (begun := session.config.stash.get(_BEGUN, None)) is not None:
        running, said = begun
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)  # its processes, too
        running.wait()
        said.close()


@pytest.fixture
def thousand_seeds(pytestconfig: pytest.Config) -> tuple[int, str]:
    """How the simulation of a thousand seeds ended: its status, and what it said."""
    running, said = pytestconfig.stash[_BEGUN]
    status = running.wait(timeout=_WITHIN_S)
    said.seek(0)
    return status, said.read().decode()

"""What does a command say and do whose output cannot be written?"""

import os
import subprocess
from pathlib import Path

from tests.roles.harness import PROGRAM

FULL = "cannot write: [Errno 28] No space left on device\n"


def onto_full(home: Path, *words: str, status: int = 74, **environment: str) -> str:
    """What the command says on standard error while its output is a device that is full."""
    ours = {"OPSCONDUCTOR_HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [PROGRAM, *words],
            env={**os.environ, **ours, **environment},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == status, done.stderr
    return done.stderr

"""What does a command show to somebody at a terminal, and how does it end?"""

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping

from tests.roles.harness import PROGRAM

WITHIN_S = 120.0


def at_terminal(environment: Mapping[str, str], words: list[str], typed: bytes = b"", after: bytes = b"") -> tuple[bytes, int]:
    """What a terminal shows while somebody types this once `after` is shown, and the exit status."""
    shown, (ours, theirs) = b"", pty.openpty()
    with subprocess.Popen([PROGRAM, *words], env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        until = time.monotonic() + WITHIN_S
        while time.monotonic() < until:
            if typed and after in shown:
                os.write(ours, typed)
                typed = b""
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    shown += os.read(ours, 65536)
                except OSError:  # the terminal's other side is closed
                    break
            elif process.poll() is not None:
                break
        try:
            return shown, process.wait(max(1.0, until - time.monotonic()))
        finally:
            process.kill()
            os.close(ours)

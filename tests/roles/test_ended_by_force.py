"""Does a process end whose role waits for ever, whatever is done to it?"""

import subprocess
import sys

HANGS = """
import asyncio, contextlib, os, signal
from functools import partial
from infra.wiring import supervise

async def hangs(stop):
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

supervise.STOP_WITHIN_S = 0.1
asyncio.run(supervise.run_roles({"executor": hangs}, stopping=partial(supervise.end_by_force, 0.5, 7)))
"""

ENDS = """
import asyncio, os, signal
from functools import partial
from infra.wiring import supervise

async def ends(stop):
    os.kill(os.getpid(), signal.SIGTERM)
    await stop.wait()

asyncio.run(supervise.run_roles({"executor": ends}, stopping=partial(supervise.end_by_force, 600, 7)))
"""


def ran(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_a_role_that_waits_for_ever_though_it_is_cancelled_ends_by_force_and_says_so() -> None:
    done = ran(HANGS)
    assert done.returncode == 7 and "ended by force" in done.stderr, done


def test_who_ends_in_order_is_not_kept_by_that_and_ends_well() -> None:
    done = ran(ENDS)
    assert done.returncode == 0 and done.stderr == "", done

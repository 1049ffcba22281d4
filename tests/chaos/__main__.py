"""Kills, freezes and restarts everything under real runs: `python -m tests.chaos --runs 500 --minutes 12 --seed 7`.

Exit status 1 when a guarantee is broken, or too little was done to say that none is; 2 when something that it needs is not there.
The seed draws faults and what clients ask for; when exactly things meet is up to the machine, so a seed gives the same plan, not
the same history.
"""

import argparse
import random
import signal
import sys
from pathlib import Path

from infra.deploy.services.native_process import ServiceFailed, ServiceUnavailable
from tests.chaos.run import Asked, chaos

CANNOT_RUN = 2


def main(arguments: list[str]) -> int:
    """Run once and say what it came to."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=500, help="how many runs are started (500)")
    parser.add_argument("--minutes", type=float, default=12, help="within how many minutes; things go wrong all that time (12)")
    parser.add_argument("--seed", default="", help="what everything is drawn from (drawn, and printed)")
    parser.add_argument("--logs", type=Path, help="a new folder to keep the roles' logs in")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us: nothing is left behind
    seed = given.seed or str(random.randrange(10**6))
    try:
        report = chaos(Asked(runs=given.runs, minutes=given.minutes, seed=seed, logs=given.logs), _say)
    except (ServiceUnavailable, ServiceFailed) as absent:
        _say(f"cannot run: {absent}")
        return CANNOT_RUN
    for line in (*report.lines, *report.verdict(seed)):
        _say(line)
    return report.status


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Looks for a broken guarantee on real Kafka: `python -m tests.jepsen --minutes 5 --brokers 3 --seed 7`.

Exit status 1 when one is broken, or too little was done to say that none is; 2 when something that it needs is not there. The
seed draws faults, crash points and what clients ask for; when exactly things meet is up to the machine, so a seed gives the same
plan, not the same history.
"""

import argparse
import random
import signal
import sys
from pathlib import Path

from infra.deploy.services.native_process import ServiceFailed, ServiceUnavailable
from tests.jepsen.planted import PLANTED
from tests.jepsen.run import Asked, jepsen

CANNOT_RUN = 2


def main(arguments: list[str]) -> int:
    """Run once and say what it came to."""
    parser = argparse.ArgumentParser(prog="python -m tests.jepsen", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5, help="how long things go wrong (5)")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="how many brokers (1)")
    parser.add_argument("--seed", default="", help="what everything is drawn from (drawn, and printed)")
    parser.add_argument("--plant", choices=sorted(PLANTED), default="", help="a bug to put into a role: it should be found")
    parser.add_argument("--logs", type=Path, help="a new folder to keep the roles' logs in")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us: nothing is left behind
    seed = given.seed or str(random.randrange(10**6))
    asked = Asked(minutes=given.minutes, brokers=given.brokers, seed=seed, plant=given.plant, logs=given.logs)
    try:
        report = jepsen(asked, _say)
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

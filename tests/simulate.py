"""Lives through many seeds: `python -m tests.simulate SEEDS [--from SEED]`. Exit status 1 when one breaks an invariant."""

import argparse
import sys
import time
from collections import Counter

from tests.support.checker import INVARIANTS
from tests.support.simulation import simulate

SHOWN = 10
TOLD_EVERY = 100


def main(arguments: list[str]) -> int:
    """Simulate seed after seed, then say what was gone through."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__)
    parser.add_argument("seeds", type=int, help="how many seeds")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed (0)")
    asked = parser.parse_args(arguments)
    faults: Counter[str] = Counter()
    lived: Counter[str] = Counter()
    failed: list[int] = []
    began = time.monotonic()
    for seed in range(asked.first, asked.first + asked.seeds):
        failed += [seed] * (not _holds(seed, faults, lived))
        if (seed + 1 - asked.first) % TOLD_EVERY == 0:
            print(f"{seed + 1 - asked.first} seeds, {len(failed)} violated, {time.monotonic() - began:.0f} s", flush=True)
    seconds = time.monotonic() - began
    print(
        f"seeds {asked.first} to {asked.first + asked.seeds - 1}: {seconds:.1f} s, {seconds / max(1, asked.seeds):.2f} s a seed"
    )
    print("lived through: " + ", ".join(f"{number} {what}" for what, number in lived.items()))
    print("faults: " + ", ".join(f"{number} {what}" for what, number in faults.most_common()))
    print(f"invariants, each checked at every seed: {', '.join(INVARIANTS)}")
    print(f"{len(failed)} violations" if not failed else f"VIOLATED by seeds {failed}")
    return 1 if failed else 0


def _holds(seed: int, faults: Counter[str], lived: Counter[str]) -> bool:
    try:
        run = simulate(seed)
    except Exception as error:
        print(f"seed {seed}: {type(error).__name__}: {error}", flush=True)
        return False
    faults.update(run.faults)
    lived.update(
        {
            "fake seconds": round(run.seconds),
            "events": len(run.evidence.events),
            "commands of people": len(run.evidence.told),
            "runs": len(run.evidence.live["runs"]),
            "steps begun on targets": len(run.evidence.starts),
        }
    )
    for violation in run.violations[:SHOWN]:
        print(f"seed {seed}: {violation.invariant}: {violation.what}", flush=True)
    return not run.violations


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

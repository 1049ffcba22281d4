"""Lives through many seeds: `python -m tests.simulate SEEDS [--from SEED] [--jobs N]`.

Exit status 1 if one breaks an invariant, or if so little was done that nothing can be said; 2 when what is asked for makes no
sense. A seed that fails is named as soon as it is known, and fails again wherever it is tried. After `--give-up` of them it ends.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field

from tests.support.checker import INVARIANTS
from tests.support.facts import COUNTS, lines
from tests.support.simulation import simulate

SHOWN = 10
AT_A_TIME = 10
"""How many seeds a process is given at a time."""

SEEDS_A_PROCESS = 1_000
"""After so many a process is replaced by a new one, so that what SQLAlchemy and others cache does not grow all night."""

TOLD_EVERY_S = 10.0

ENOUGH_SEEDS = 100
"""From so many seeds on every invariant must have had something to look at, and in most seeds steps must have begun."""

LEAST_SHARE = {"requested a run": 0.95, "began a step on a target": 0.85}
"""Of so many seeds this must be true: a world in which nothing happens shows nothing."""


@dataclass
class Lived:
    """What some seeds came to: what went wrong in them by its name, what they went through, and those that broke an invariant.

    `looked` are the facts that each invariant looked at, `busy` the seeds of which something is true by what that is.
    """

    seeds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    through: Counter[str] = field(default_factory=Counter)
    looked: Counter[str] = field(default_factory=Counter)
    busy: Counter[str] = field(default_factory=Counter)
    failed: dict[int, list[str]] = field(default_factory=dict)
    megabytes: int = 0

    def add(self, other: "Lived") -> None:
        """These seeds as well."""
        self.seeds += other.seeds
        self.faults.update(other.faults)
        self.through.update(other.through)
        self.looked.update(other.looked)
        self.busy.update(other.busy)
        self.failed.update(other.failed)
        self.megabytes = max(self.megabytes, other.megabytes)


def main(arguments: list[str]) -> int:
    """Simulate seed after seed, then say what was gone through."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__)
    parser.add_argument("seeds", type=_positive, help="how many seeds")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--jobs", type=_positive, default=os.cpu_count() or 1, help="how many processes (one a processor)")
    parser.add_argument("--give-up", type=_positive, default=20, help="after so many seeds that break an invariant (20)")
    asked = parser.parse_args(arguments)
    began = told = time.monotonic()
    total = Lived()
    for lived in _all(range(asked.first, asked.first + asked.seeds), asked.jobs):
        total.add(lived)
        for seed, broken in lived.failed.items():
            print("\n".join(f"seed {seed}: {line}" for line in broken), flush=True)
        if time.monotonic() - told > TOLD_EVERY_S:
            told = time.monotonic()
            print(f"{total.seeds} seeds, {len(total.failed)} violated, {told - began:.0f} s, {total.megabytes} MB", flush=True)
        if len(total.failed) >= asked.give_up:
            print("given up")
            break
    _tell(total, asked.first, time.monotonic() - began)
    return 1 if total.failed or lacking(total) else 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def lacking(total: Lived) -> list[str]:
    """What there was too little of to say that nothing is broken; of few seeds not much is asked."""
    if total.seeds < ENOUGH_SEEDS:
        return []
    unseen = [f"{name} looked at nothing" for name in INVARIANTS if not total.looked[name]]
    idle = [
        f"{total.busy[what]} of {total.seeds} seeds {what}, at least {least:.0%} are wanted"
        for what, least in LEAST_SHARE.items()
        if total.busy[what] < least * total.seeds
    ]
    return [*unseen, *idle]


def _tell(total: Lived, first: int, seconds: float) -> None:
    seeds = max(1, total.seeds)
    print(
        f"seeds from {first} on: {total.seeds}, {seconds:.1f} s, {seconds / seeds:.3f} s a seed, {total.megabytes} MB a process"
    )
    print("lived through: " + ", ".join(f"{number} {what}" for what, number in total.through.items()))
    told = [f"{1_000 * number / seeds:.0f} {what}" for what, number in total.faults.most_common()]
    print(f"faults: {total.faults.total()}; in 1,000 seeds: " + ", ".join(told))
    print("of these seeds: " + ", ".join(f"{total.busy[what]} {what}" for what in LEAST_SHARE))
    print("\n".join(lines({name: total.looked[name] for name in INVARIANTS})))
    print("\n".join(f"TOO LITTLE WAS DONE: {what}" for what in lacking(total)), end="\n" * bool(lacking(total)))
    print(f"VIOLATED by seeds {sorted(total.failed)}" if total.failed else "0 violations")


def _all(seeds: range, jobs: int) -> Iterator[Lived]:
    """What each handful of seeds came to, as soon as it is known; however many there are, a few are on their way at a time."""
    if jobs == 1:
        yield from map(live, _cut(seeds, AT_A_TIME))
        return
    for block in _cut(seeds, jobs * SEEDS_A_PROCESS):
        yield from _in_processes(block, jobs)


def _cut(seeds: range, size: int) -> Iterator[range]:
    return (seeds[at : at + size] for at in range(0, len(seeds), size))


def _in_processes(seeds: range, jobs: int) -> Iterator[Lived]:
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    try:
        running: set[Future[Lived]] = set()
        for handful in _cut(seeds, AT_A_TIME):
            running.add(pool.submit(live, handful))
            if len(running) > 2 * jobs:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from map(Future.result, done)
        yield from map(Future.result, running)
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Whatever ends the parent, also a signal that it does not hear, ends this process."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def live(seeds: range) -> Lived:
    """Live through some seeds, in this process."""
    lived = Lived()
    for seed in seeds:
        _live_one(seed, lived)
    lived.megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return lived


def _live_one(seed: int, lived: Lived) -> None:
    lived.seeds += 1
    try:
        run = simulate(seed)
    except Exception as error:
        lived.failed[seed] = [f"{type(error).__name__}: {error}"]
        return
    lived.faults.update(run.faults)
    lived.through.update(
        {
            "fake seconds": round(run.seconds),
            "events": len(run.evidence.events),
            "commands of people": len(run.evidence.told),
            "runs": len(run.evidence.live["runs"]),
            "steps begun on targets": len(run.evidence.starts),
        }
    )
    lived.looked.update({name: count(run.evidence) for name, count in COUNTS.items()})
    types = {recorded.event.type for recorded in run.evidence.events}
    lived.busy.update({"requested a run": "RunRequested" in types, "began a step on a target": bool(run.evidence.starts)})
    if run.violations:
        lived.failed[seed] = [f"{violation.invariant}: {violation.what}" for violation in run.violations[:SHOWN]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What goes wrong? Kills, freezes and restarts, drawn from a seed; of roles and services side by side, each put right again."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from tests.chaos.world import House
from tests.jepsen.armed import SESSION_S, TRANSACTION_S
from tests.jepsen.faults import Fault
from tests.roles.harness import LEASE_S, STOP_WITHIN_S

LASTS_S = (0.6, LEASE_S * 0.6, TRANSACTION_S * 1.2, LEASE_S * 1.5, SESSION_S * 1.6, LEASE_S * 2.7)
"""Shorter than what notices; longer than a transaction may take, than a lease, than a session; and long."""

WAYS = ("kill", "freeze", "restart")
_WEIGHTS: Mapping[str, Mapping[str, int]] = {
    "roles": {
        "kill executor": 5, "freeze executor": 6, "restart executor": 3,
        "kill commands": 3, "freeze commands": 4, "restart commands": 2,
        "kill projections": 2, "freeze projections": 3, "restart projections": 1,
        "kill api": 2, "freeze api": 2, "restart api": 1,
        "kill sweeper": 2, "freeze sweeper": 3, "restart sweeper": 1,
    },
    "services": {
        "kill kafka": 3, "freeze kafka": 4, "restart kafka": 2,
        "kill postgres": 3, "freeze postgres": 3, "restart postgres": 2,
        "kill redis": 1, "freeze redis": 2, "restart redis": 1,
    },
}  # fmt: skip
SIDES = tuple(_WEIGHTS)
PAUSE_S = {"roles": (0.5, 4.0), "services": (3.0, 10.0)}
"""How long nothing new goes wrong on a side between two faults; services are what everybody needs."""

AFTER_ALL_WAS_UP, UP_WITHIN_S = {"roles": 0.6, "services": 0.8}, 30.0
"""The share of faults that hit only when everything was up again, and how long they wait for that; the others may hit a start."""

_NAMES = {"executor": 2, "commands": 2}
_ONE_EACH = ("kill", "freeze")


def drawn(dice: Random, side: str) -> Iterator[Fault]:
    """Faults of one side without end; the same for the same seed. Whatever there is, is hit once before anything else."""
    weights = _WEIGHTS[side]
    whom = sorted({kind.partition(" ")[2] for kind in weights})
    dice.shuffle(whom)
    first = [f"{dice.choice(_ONE_EACH)} {name}" for name in whom]
    while True:
        kind = first.pop() if first else dice.choices(list(weights), list(weights.values()))[0]
        name = kind.partition(" ")[2]
        victim = f"{name}-{dice.randint(1, _NAMES[name])}" if name in _NAMES else {"kafka": "kafka-1"}.get(name, name)
        yield Fault(kind, victim, round(dice.choice(LASTS_S), 1))


@dataclass
class Trouble:
    """Makes things go wrong until it is told to stop. `say` tells people.

    A fault counts as `met` when its signal came to a living process, else as one that met nothing.
    """

    house: House
    say: Callable[[str], None]
    stop: threading.Event = field(default_factory=threading.Event)
    met: Counter[str] = field(default_factory=Counter)
    met_nothing: Counter[str] = field(default_factory=Counter)
    slow_ends: list[str] = field(default_factory=list)

    def draw(self, seed: str, side: str) -> None:
        """Fault after fault on one side."""
        dice = Random(f"{seed}: {side}")
        for fault in drawn(dice, side):
            pause, waits = dice.uniform(*PAUSE_S[side]), dice.random() < AFTER_ALL_WAS_UP[side]
            self._await(lambda: not self.house.missing(), UP_WITHIN_S if waits else 0.0)
            self.stop.wait(pause)
            if self.stop.is_set():
                return
            self.say(str(fault))
            bit = self._live_through(fault)
            (self.met if bit else self.met_nothing)[fault.kind] += 1
            if not bit:
                self.say(f"{fault.kind} {fault.victim}: met nothing")

    def _live_through(self, fault: Fault) -> bool:
        """Whether it met a living process."""
        match fault.kind.partition(" ")[0]:
            case "kill":
                bit = self.house.kill(fault.victim)
                self.stop.wait(fault.seconds)
            case "restart":
                bit = self.house.ask_to_end(fault.victim)
                self._await_end(fault.victim)
            case _:
                bit = self.house.freeze(fault.victim)
                self.stop.wait(fault.seconds)
                self.house.thaw(fault.victim)
        self.house.revive(fault.victim)
        return bit

    def _await(self, condition: Callable[[], bool], within_s: float) -> None:
        until = time.monotonic() + within_s
        while time.monotonic() < until and not self.stop.is_set() and not condition():
            self.stop.wait(0.1)

    def _await_end(self, victim: str) -> None:
        self._await(lambda: not self.house.is_up(victim), STOP_WITHIN_S)
        if self.house.is_up(victim) and not self.stop.is_set():  # what it needs may be frozen, too
            self.slow_ends.append(victim)
            self.house.kill(victim)

"""What goes wrong? Drawn from a seed, one thing after the other, each put right again; and crash points, swept one by one."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.jepsen.armed import CALL_S, POINTS, SESSION_S, TRANSACTION_S
from tests.jepsen.proxy import END_TXN, PRODUCE, TXN_OFFSETS, Rule
from tests.jepsen.world import OWNERS, World

SHORT_S, LONG_S = (0.7, CALL_S * 1.5), (TRANSACTION_S * 1.25, SESSION_S * 1.4)
"""How long things last: shorter than what notices, longer than a transaction may take, longer than a session."""

JUMP_S = 7200.0
ALONE_FOR_S, ARMED_FOR_S, MET_WITHIN_S = 3.0, 15.0, 8.0
"""How long one owner is armed alone, and then all; how long a bad network waits for somebody to meet."""

READERS = ("api", "projections")
AT_START = frozenset(POINTS[-4:])

PAUSE_S = (1.0, 5.0)
"""How long nothing new goes wrong between two faults, and between two crash points."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong: what, to whom, for how many seconds, and how much of it where that matters."""

    kind: str
    victim: str
    seconds: float
    much: float = 0.0

    def __str__(self) -> str:
        amount = f" by {self.much:g} s" if self.much else ""
        return f"{self.kind} {self.victim}{amount} for {self.seconds:g} s"


_WEIGHTS = {
    "kill owner": 2,
    "kill broker": 2,
    "kill reader": 1,
    "freeze owner": 3,
    "freeze broker": 2,
    "freeze reader": 1,
    "delay": 3,
    "cut up": 2,
    "cut down": 2,
    "black-hole": 2,
    "black-hole, then reset": 1,
    "reset": 2,
    "no brokers": 1,
    "late EndTxn": 6,
    "late answer to EndTxn": 2,
    "late TxnOffsetCommit": 1,
    "late Produce": 1,
    "clock": 3,
}
KINDS = tuple(_WEIGHTS)
_HELD = {"cut up": {"up"}, "cut down": {"down"}, "black-hole": {"up", "down"}, "black-hole, then reset": {"up", "down"}}
_LATE = {
    "late EndTxn": (END_TXN, False),
    "late answer to EndTxn": (END_TXN, True),
    "late TxnOffsetCommit": (TXN_OFFSETS, False),
    "late Produce": (PRODUCE, False),
}


def drawn(dice: Random, brokers: int) -> Iterator[Fault]:
    """Faults without end; the same for the same seed."""
    nodes = [f"kafka-{number}" for number in range(1, brokers + 1)]
    first = list(KINDS)
    dice.shuffle(first)
    while True:
        kind = first.pop() if first else dice.choices(KINDS, list(_WEIGHTS.values()))[0]
        seconds = dice.choice(SHORT_S + LONG_S)
        if kind.startswith(("kill", "freeze")):
            whom = {"owner": OWNERS, "broker": nodes, "reader": READERS}[kind.partition(" ")[2]]
            yield Fault(kind, dice.choice(whom), seconds)
        elif kind == "clock":
            victim = dice.choice([*OWNERS, "api", "api", "projections"])
            yield Fault(kind, victim, seconds, dice.choice((JUMP_S, -JUMP_S)))
        elif kind in _LATE:
            yield Fault(kind, "commands-.", dice.choice((CALL_S * 1.3, *LONG_S)))
        else:
            victim = dice.choice([*OWNERS, "commands-.", "(api|projections)", ".*"])
            much = dice.choice((0.05, 0.3, 1.0)) if kind == "delay" else 0.0
            yield Fault(kind, victim, seconds, much)


@dataclass
class Trouble:
    """Makes things go wrong in a world until it is told to stop. `say` tells people; `pause_s` lies between two things.

    A fault counts as `met` when it bit: a signal came to a living process, a rule delayed or held something, a connection was
    reset. What met nothing is counted as `met_nothing`, and tried once more after the next fault.
    """

    world: World
    say: Callable[[str], None]
    brokers: int
    pause_s: tuple[float, float] = PAUSE_S
    stop: threading.Event = field(default_factory=threading.Event)
    met: Counter[str] = field(default_factory=Counter)
    met_nothing: Counter[str] = field(default_factory=Counter)
    fallen: Counter[str] = field(default_factory=Counter)
    _missed: list[Fault] = field(default_factory=list)

    def draw(self, seed: str) -> None:
        """Fault after fault."""
        dice = Random(f"{seed}: faults")
        for fault in drawn(dice, self.brokers):
            pause = dice.uniform(*self.pause_s)
            again = self._missed.pop(0) if self._missed else None
            if not self._live_through(fault, pause):
                self._missed.append(fault)
            if again is not None:
                self._live_through(again, pause)
            if self.stop.is_set():
                return

    def _live_through(self, fault: Fault, pause: float) -> bool:
        """Whether it met anything; what the end of all trouble kept from beginning is not told at all."""
        if self.stop.is_set():
            return True
        self.say(str(fault))
        bit = self._inject(fault)
        (self.met if bit else self.met_nothing)[fault.kind] += 1
        if not bit:
            self.say(f"{fault.kind} {fault.victim}: met nothing")
        self.stop.wait(pause)
        return bit

    def sweep(self, seed: str) -> None:
        """Crash point after crash point, all of them once before any of them twice."""
        dice = Random(f"{seed}: crash points")
        while not self.stop.is_set():
            points = list(POINTS)
            dice.shuffle(points)
            for point in points:
                owner, action = dice.choice(OWNERS), "kill" if dice.random() < 0.75 else "stop"
                seconds, pause = dice.choice(SHORT_S + LONG_S), dice.uniform(*self.pause_s)
                if not self.stop.is_set():
                    self._fall(owner, point, action, seconds)
                    self.stop.wait(pause)

    def _fall(self, owner: str, point: str, action: str, seconds: float) -> None:
        """Let this owner fall; another one as well may, when this one does not come by soon: it may have no shard just now."""
        armed = {owner: self.world.arm(owner, point, action)}
        if point in AT_START:
            self.world.kill(owner, hold=False)
        else:
            self._await(lambda: not armed[owner].exists(), ALONE_FOR_S)
            if armed[owner].exists():
                armed |= {other: self.world.arm(other, point, action) for other in OWNERS if other != owner}
        self._await(lambda: not all(file.exists() for file in armed.values()), ARMED_FOR_S)
        fallen = [name for name, file in armed.items() if not _disarmed(file)]
        for name in fallen:
            self.fallen[point] += 1
            self.say(f"{name} {'killed' if action == 'kill' else f'stopped for {seconds:g} s'} {point}")
        if fallen and action == "stop":
            self.stop.wait(seconds)
            for name in fallen:
                self.world.thaw(name)

    def _inject(self, fault: Fault) -> bool:
        """Make it so, let it last, put it right; whether it met anything."""
        there = self.world
        match fault.kind.partition(" ")[0]:
            case "kill":
                return self._lasting(fault, there.kill(fault.victim), lambda: there.revive(fault.victim))
            case "freeze":
                return self._lasting(fault, there.freeze(fault.victim), lambda: there.thaw(fault.victim))
            case "clock":
                return self._lasting(fault, there.set_clock(fault.victim, fault.much), lambda: there.set_clock(fault.victim, 0))
            case "reset":
                return self._lasting(
                    fault, self._await(lambda: there.proxies.reset(_rule(fault)) > 0, MET_WITHIN_S), lambda: None
                )
        return self._held_back(fault, _rule(fault))

    def _lasting(self, fault: Fault, bit: bool, put_right: Callable[[], object]) -> bool:
        self.stop.wait(fault.seconds)
        put_right()
        return bit

    def _held_back(self, fault: Fault, rule: Rule) -> bool:
        """It lasts from when it met something, since after a broker's restart there may be nobody to meet.

        Which brokers there are is asked when a connection was lost.
        """
        self.world.proxies.impose(rule)
        if rule.brokerless:
            self.world.proxies.reset(rule)
        met = self._await(lambda: rule.met > 0, MET_WITHIN_S)
        if met:
            self.stop.wait(fault.seconds)
        resets = fault.kind.endswith("reset")
        reset = self.world.proxies.lift(rule, reset=resets)
        return met and (reset > 0 or not resets)

    def _await(self, condition: Callable[[], bool], within_s: float) -> bool:
        until = time.monotonic() + within_s
        while not (true := condition()) and time.monotonic() < until and not self.stop.is_set():
            time.sleep(0.02)
        return true


def _disarmed(file: Path) -> bool:
    """Whether it was still armed; a file that is gone has done its work."""
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    return True


def _rule(fault: Fault) -> Rule:
    client = f".*-{fault.victim}" if fault.victim != ".*" else ".*"
    api_key, answer = _LATE.get(fault.kind, (None, False))
    return Rule(
        client=client, delay_s=fault.much, held=frozenset(_HELD.get(fault.kind, ())), api_key=api_key, answer=answer,
        brokerless=fault.kind == "no brokers",
    )  # fmt: skip

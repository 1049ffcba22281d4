"""One run: start everything, let clients work while things go wrong, heal, wait until all is settled, look at what there is."""

import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx2
from confluent_kafka import KafkaException

from tests.jepsen.accounted import told
from tests.jepsen.armed import POINTS
from tests.jepsen.clients import CREDENTIAL, Client, Connection, Names
from tests.jepsen.collect import Collector, WholeLog
from tests.jepsen.ends import NO_ROLE_ENDS_BY_ITSELF
from tests.jepsen.explain import QUESTIONS, Case, unexplained
from tests.jepsen.facts import looked_at
from tests.jepsen.faults import PAUSE_S, Trouble
from tests.jepsen.history import History, Said, Write
from tests.jepsen.world import PREFIX, SHARDS, World, await_up, world
from tests.roles.harness import Rows
from tests.roles.rest import Rest
from tests.support.checker import INVARIANTS, violations
from tests.support.eventually import eventually
from tests.support.evidence import Evidence
from tests.support.facts import lines
from tests.support.services import scratch_folder

CLIENTS = 8
UP_WITHIN_S = 120.0
SETTLED_WITHIN_S, TOLD_EVERY_S = 150.0, 15.0
COLLECTED_WITHIN_S, READ_WITHIN_S = 120.0, 120.0
SHOWN, STALLS = 8, 3

LEAST_A_MINUTE = {
    "writes that were acknowledged": 20,
    "reads that were answered with something": 15,
    "faults that met something": 3,
}
"""What must have been done in each minute while things went wrong: a run in which nothing happened shows nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What run is asked for: how long things go wrong, how many brokers, from which seed.

    `plant` names a bug to be found; `services` are URLs of Postgres and Redis (else own ones are started); `pause_s` lies between
    two faults; while a fault or crash point that is `wanted` has met nothing it goes on, at most as long again; the logs of the
    roles and brokers are kept in the new folder `logs`.
    """

    minutes: float
    brokers: int = 1
    seed: str = "0"
    plant: str = ""
    services: Sequence[str] = ()
    pause_s: tuple[float, float] = PAUSE_S
    wanted: frozenset[str] = frozenset()
    logs: Path | None = None


@dataclass(slots=True)
class Report:
    """What a run came to: `lines` for people, what is wrong, and what there was too little of to say that nothing is.

    `met` are the faults that bit, by kind; `fallen` how often an owner fell at each crash point.
    """

    lines: list[str] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    fallen: Counter[str] = field(default_factory=Counter)

    @property
    def violated(self) -> set[str]:
        """The names of what is violated."""
        return {name for name, _ in self.broken}

    def verdict(self, seed: str) -> Iterator[str]:
        """The last lines for people."""
        yield from (f"VIOLATED {name}: {what}" for name, what in self.broken[: 5 * SHOWN])
        yield from (f"TOO LITTLE WAS DONE: {what}" for what in self.lacking)
        yield f"seed {seed}: " + (f"{len(self.broken)} violations" if self.broken else "no violation")

    @property
    def status(self) -> int:
        """The exit status: 1 when something is wrong, or nothing can be said."""
        return 1 if self.broken or self.lacking else 0


def too_little(done: Mapping[str, int], least: Mapping[str, float]) -> list[str]:
    """What there was less of than there must be."""
    return [f"{done[what]} {what}, at least {number:.0f} are wanted" for what, number in least.items() if done[what] < number]


def jepsen(asked: Asked, say: Callable[[str], None] = print) -> Report:
    """Live through one run."""
    began = time.monotonic()

    def told(line: str) -> None:
        say(f"{time.monotonic() - began:7.1f} s  {line}")

    told(
        f"seed {asked.seed}: {asked.brokers} broker(s), {asked.minutes:g} min{f', planted: {asked.plant}' if asked.plant else ''}"
    )
    with scratch_folder() as folder, world(folder, asked.brokers, asked.plant, asked.services) as there:
        run = _Run(asked, there, told, began)
        try:
            run.work()
            run.settle()
            report = run.look()
        finally:
            run.end()
            if asked.logs is not None:
                shutil.copytree(there.roles.logs, asked.logs)
                for node in there.brokers.nodes:
                    shutil.copy(node.log, asked.logs)
    return report


class _Run:
    def __init__(self, asked: Asked, there: World, say: Callable[[str], None], began: float) -> None:
        self._asked, self._there, self._say, self._began = asked, there, say, began
        self._history = History()
        self._report = Report()
        self._stop = threading.Event()
        self._supervising = threading.Thread(target=there.supervise, args=(self._stop,), daemon=True)
        self._supervising.start()
        self._trouble = Trouble(there, say, asked.brokers, asked.pause_s)
        self._collector = Collector(there.brokers.address, PREFIX, SHARDS)
        self._password = (there.roles.home / "admin-password").read_text().strip()
        self._log = WholeLog(SHARDS)
        self._rows: tuple[Rows, Rows] = ({}, {})
        self._is_settled = False

    def work(self) -> None:
        """Clients work while things go wrong."""
        self._make_credential()
        stop, seed, names = threading.Event(), self._asked.seed, Names()
        clients = [Client(n, self._connection(), names, self._history, Random(f"{seed}: client {n}")) for n in range(CLIENTS)]
        began, until = time.monotonic(), time.monotonic() + self._asked.minutes * 60
        with _threads([(client.run, (stop,)) for client in clients], stop, 60):
            time.sleep(2)
            with _threads([(self._trouble.draw, (seed,)), (self._trouble.sweep, (seed,))], self._trouble.stop, 90):
                time.sleep(max(0.0, until - time.monotonic()))
                while time.monotonic() < until + self._asked.minutes * 60 and not self._asked.wanted <= self._met():
                    time.sleep(0.2)
            self._say("all is put right; clients go on for a while")
            self._there.heal()
            if not await_up(self._there, UP_WITHIN_S):
                self._wrong("does_not_settle", "not everything is up again")
            time.sleep(3)
        self._worked_s = time.monotonic() - began
        self._report.lacking = self._too_little()
        for client in clients:
            client.connection.close()

    def _connection(self) -> Connection:
        return Connection(self._there.roles.url, self._password, self._history.sign_ins)

    def _met(self) -> set[str]:
        return {*self._trouble.met, *self._trouble.fallen}

    def _too_little(self) -> list[str]:
        done = (
            sum(write.said is Said.OK for write in self._history.writes),
            sum(read.version > 0 for read in self._history.reads),
            sum(self._trouble.met.values()),
        )
        least = {what: number * self._asked.minutes for what, number in LEAST_A_MINUTE.items()}
        missed = [f"nothing met: {what}" for what in sorted(self._asked.wanted - self._met())]
        return [*too_little(dict(zip(LEAST_A_MINUTE, done, strict=True)), least), *missed]

    def _make_credential(self) -> None:
        body = {"name": CREDENTIAL, "kind": "password", "secret": {"username": "nobody", "password": "nothing"}}
        self._there.roles.rest().write("POST", "/credentials", body)

    def settle(self) -> None:
        """Wait until everything sent is decided, nothing is undecided and the read models have seen it all; then ask on."""
        began, left, rest = time.monotonic(), ["nobody was asked yet"], self._there.roles.rest()
        told = began
        while left and time.monotonic() < began + SETTLED_WITHIN_S:
            time.sleep(0.5)
            left = self._unsettled(rest)
            if left and time.monotonic() > told + TOLD_EVERY_S:
                told = time.monotonic()
                self._say(f"not settled yet: {left[:STALLS]}")
        rest.close()
        self._is_settled = not left
        if left:
            self._wrong("does_not_settle", f"after {SETTLED_WITHIN_S:g} s: {left[:SHOWN]}")
        self._say(f"settled after {time.monotonic() - began:.1f} s")

    def _unsettled(self, rest: Rest) -> list[str]:
        try:
            if left := self._collector.undone() or self._collector.ends().undecided:
                return left
            behind = [p["name"] for p in rest.get("/projections")["items"] if p["lag_events"] or p["state"] != "live"]
        except (KafkaException, AssertionError, httpx2.TransportError) as error:
            return [repr(error)]
        return [f"read model {name} is behind" for name in behind]

    def look(self) -> Report:
        """Collect everything and hold it against what clients saw; what is not settled is not asked."""
        unknown = [write for write in self._history.writes if not write.definite]
        asking = Client(CLIENTS, self._connection(), Names(), self._history, Random(0))
        for write in unknown * self._is_settled:
            write.tries.append(asking.asked(write))
        self._log = self._collector.everything(COLLECTED_WITHIN_S)
        if self._is_settled:
            self._read_all(asking)
            self._rows = self._rebuilt()
            self._log = self._collector.everything(COLLECTED_WITHIN_S)  # to sign in is an event, and rows tell of it
        asking.connection.close()
        case, evidence = Case(self._history, self._log), self._evidence()
        for name, what in unexplained(case):
            self._wrong(name, what)
        for violation in violations(evidence):
            self._wrong(violation.invariant, violation.what)
        for what in self._there.crashed:
            self._wrong(NO_ROLE_ENDS_BY_ITSELF, what)
        looked = {**looked_at((*QUESTIONS, *INVARIANTS), case, evidence), NO_ROLE_ENDS_BY_ITSELF: self._there.started}
        self._report.lines += [*self._figures(unknown), *lines(looked)]
        self._report.met, self._report.fallen = self._trouble.met, self._trouble.fallen
        return self._report

    def _read_all(self, asking: Client) -> None:
        """Every stream once more, at least at its last version."""
        until = time.monotonic() + READ_WITHIN_S
        for stream, version in Counter(recorded.event.stream for recorded in self._log.events).items():
            if stream.startswith("user/"):
                continue
            if time.monotonic() > until or asking.read(stream, version) is None:
                self._wrong("read_models_are_the_log", f"{stream} could not be read at version {version}")

    def _rebuilt(self) -> tuple[Rows, Rows]:
        eventually(self._there.roles.log_in, within=UP_WITHIN_S, every=1)
        self.settle()  # to sign in is an event, too
        before = self._there.roles.rows()
        try:
            done = self._there.roles.command("projections", "rebuild", "--all")
            done.check_returncode()
        except subprocess.SubprocessError as error:
            self._wrong("read_models_are_the_log", f"rebuilding: {error}")
        return before, self._there.roles.rows()

    def _evidence(self) -> Evidence:
        return Evidence(
            told=told(self._history, self._log, self._there.roles),
            events=self._log.events,
            outcomes=[at.body for at in self._log.outcomes],
            commands=self._log.taken,
            output=self._log.output,
            starts=(),
            still_running=(),
            live=self._rows[0],
            rebuilt=self._rows[1],
            unforeseen=[*self._history.unforeseen, *self._log.strange],
        )

    def _wrong(self, name: str, what: str) -> None:
        self._report.broken.append((name, what))

    def _figures(self, unknown: Sequence[Write]) -> Iterator[str]:
        writes, trouble, there = self._history.writes, self._trouble, self._there
        said = Counter(write.said.value for write in writes)
        tries = Counter(one.how for write in writes for one in write.tries)
        doubted = [w for w in writes if any(t.said is Said.UNKNOWN and not t.asked for t in w.tries)]
        resolved = Counter(write.said.value if write.definite else "never came" for write in doubted)
        yield "faults: " + ", ".join(f"{n} {kind}" for kind, n in sorted(trouble.met.items()))
        if trouble.met_nothing:
            yield "nothing met: " + ", ".join(f"{n} {kind}" for kind, n in sorted(trouble.met_nothing.items()))
        fallen, missed = trouble.fallen, [point for point in POINTS if not trouble.fallen[point]]
        yield f"crash points: {sum(fallen.values())} falls: " + "; ".join(f"{fallen[p]} {p}" for p in POINTS if fallen[p])
        yield f"crash points not reached: {'; '.join(missed) or 'none'}"
        yield "network: " + ", ".join(f"{n} {what}" for what, n in there.proxies.counted.items())
        yield f"started again: {there.started}; of these ended by themselves: {dict(there.ended)}"
        yield f"commands: {len(writes)} ({len(writes) / self._worked_s:.1f}/s): " + ", ".join(f"{n} {s}" for s, n in said.items())
        yield f"in doubt at some time: {len(doubted)}, which came to: {dict(resolved)}; until all was healed: {len(unknown)}"
        yield "answers: " + ", ".join(f"{n} × {how}" for how, n in tries.most_common())
        yield f"reads: {len(self._history.reads)}, refused {self._history.refused_reads}"
        yield f"log: {len(self._log.events)} events, {len(self._log.outcomes)} outcomes, {len(self._log.commands)} commands"
        stalls = [f"{lasted:.1f} s from {at - self._began:.1f} s on" for lasted, at in self._history.stalls[:STALLS]]
        yield f"longest stalls: without an answered write {', '.join(stalls)}"

    def end(self) -> None:
        """Stop what this started itself."""
        self._stop.set()
        self._supervising.join(30)


@contextmanager
def _threads(
    work: Sequence[tuple[Callable[..., None], tuple[object, ...]]], stop: threading.Event, within_s: float
) -> Iterator[None]:
    """Run beside the block; `stop` ends them when it ends. Raises what one of them raised."""
    failures: list[BaseException] = []

    def kept(function: Callable[..., None], given: tuple[object, ...]) -> None:
        try:
            function(*given)
        except BaseException as error:  # raised by whoever waits for the thread
            failures.append(error)

    threads = [threading.Thread(target=kept, args=one, daemon=True) for one in work]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(within_s)
    assert not any(thread.is_alive() for thread in threads), "a thread did not end"
    if failures:
        raise failures[0]

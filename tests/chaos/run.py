"""One run: start everything, let clients start runs while things go wrong, heal, wait until every run has ended, look."""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

import httpx2
from confluent_kafka import KafkaException

from schemas.position import Partition
from schemas.topics import EVENT_TOPICS
from tests.chaos.clients import Course, Starter, dice_of
from tests.chaos.faults import SIDES, WAYS, Trouble
from tests.chaos.fleet import ChaosFleet, Line
from tests.chaos.witness import Witness, starts, unfitting, written
from tests.chaos.witness import looked_at as seen
from tests.chaos.world import House, house
from tests.jepsen.accounted import told
from tests.jepsen.clients import Connection, Names
from tests.jepsen.collect import Collector, WholeLog
from tests.jepsen.ends import NO_ROLE_ENDS_BY_ITSELF
from tests.jepsen.explain import QUESTIONS as SAID
from tests.jepsen.explain import Case, unexplained
from tests.jepsen.facts import looked_at
from tests.jepsen.history import History, Said, Write
from tests.jepsen.run import SHOWN, Report, _threads, too_little
from tests.jepsen.world import PREFIX, SHARDS
from tests.roles.fleet import FINAL
from tests.roles.harness import LEASE_S, Rows
from tests.roles.rest import NotSignedIn, Rest
from tests.support.checker import INVARIANTS, violations
from tests.support.eventually import eventually
from tests.support.evidence import Evidence
from tests.support.facts import lines
from tests.support.services import scratch_folder

CLIENTS = 6
STARTED_IN = 0.9
"""The share of the time in which all runs are started; the rest is for those that were late."""

UP_WITHIN_S = 180.0
SLACK_S = 90.0
SETTLED_WITHIN_S = LEASE_S + SLACK_S
"""After all is healed every run has ended by then. The slack is for a backlog of steps, and for consumer groups to notice."""

STARTED_WITHIN_S = 120.0
"""After all is healed, how long clients may take to start those that were asked for while nobody could."""

COLLECTED_WITHIN_S = 180.0

LEAST_SHARE = 0.9
"""The share of the runs that were asked for that must have been started, and have ended: else a run of chaos shows nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How many runs are to be started in how many minutes, from which seed. The roles' logs are kept in the new folder `logs`."""

    runs: int
    minutes: float
    seed: str
    logs: Path | None = None


def chaos(asked: Asked, say: Callable[[str], None] = print) -> Report:
    """Live through one run."""
    began = time.monotonic()

    def told(line: str) -> None:
        say(f"{time.monotonic() - began:7.1f} s  {line}")

    told(f"seed {asked.seed}: {asked.runs} runs in {asked.minutes:g} min")
    with scratch_folder() as folder, house(folder) as (there, fleet):
        run = _Run(asked, there, fleet, told)
        try:
            run.work()
            run.settle()
            report = run.look()
        finally:
            run.end()
            if asked.logs is not None:
                _keep(folder, there, asked.logs)
    return report


def _keep(folder: Path, there: House, logs: Path) -> None:
    """What roles and services wrote, and the targets' files."""
    shutil.copytree(there.roles.logs, logs)
    shutil.copytree(folder / "traces", logs / "traces")
    for service in there.services.values():
        shutil.copy(service.log, logs)


class _Run:
    def __init__(self, asked: Asked, there: House, fleet: ChaosFleet, say: Callable[[str], None]) -> None:
        self._asked, self._there, self._fleet, self._say = asked, there, fleet, say
        self._history, self._report, self._log = History(), Report(), WholeLog(SHARDS)
        self._course = Course(asked.runs, asked.minutes * 60 * STARTED_IN)
        self._stop = threading.Event()
        self._supervising = threading.Thread(target=there.supervise, args=(self._stop,), daemon=True)
        self._supervising.start()
        self._trouble = Trouble(there, say)
        self._collector = Collector(there.brokers.address, PREFIX, SHARDS)
        self._rest = there.roles.rest()
        self._live: Rows = {}

    # --- work ---------------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Clients start runs while things go wrong, until all are started or the time is over."""
        began, until = time.monotonic(), time.monotonic() + self._asked.minutes * 60
        self._course.began = began
        clients = [self._client(number) for number in range(CLIENTS)]
        stop = threading.Event()
        with _threads([(client.work, (stop,)) for client in clients], stop, 60):
            trouble = [(self._trouble.draw, (self._asked.seed, side)) for side in SIDES]
            with _threads(trouble, self._trouble.stop, 90):
                while time.monotonic() < until and self._goes_on():
                    time.sleep(0.2)
            self._say("all is put right")
            self._there.heal()
            late = time.monotonic() + STARTED_WITHIN_S
            while time.monotonic() < late and sum(self._course.asked.values()) < self._asked.runs:
                time.sleep(0.2)
        self._worked_s = time.monotonic() - began
        for client in clients:
            client.connection.close()
        self._await_up()

    def _await_up(self) -> None:
        until, missing = time.monotonic() + UP_WITHIN_S, ["nobody was asked yet"]
        while missing and time.monotonic() < until:
            time.sleep(0.2)
            missing = self._there.missing()
        if missing:
            self._wrong("does_not_settle", f"{UP_WITHIN_S:g} s after all was put right these are missing: {missing}")

    def _client(self, number: int) -> Starter:
        dice = dice_of(self._asked.seed, number)
        connection = self._connection()
        return Starter(number, connection, Names(), self._history, dice, course=self._course)

    def _connection(self) -> Connection:
        return Connection(self._there.roles.url, self._rest.password, self._history.sign_ins)

    def _goes_on(self) -> bool:
        """Whether runs are left to be started, or there is time for more to go wrong under those that are."""
        return (
            sum(self._course.asked.values()) < self._asked.runs or time.monotonic() < self._course.began + self._course.within_s
        )

    # --- settle -------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Wait until every run has ended, everything is decided and the read models have seen it all."""
        began, left = time.monotonic(), ["nobody was asked yet"]
        while left and time.monotonic() < began + SETTLED_WITHIN_S:
            time.sleep(0.5)
            left = self._unsettled()
        if left:
            self._wrong("does_not_settle", f"after {SETTLED_WITHIN_S:g} s: {left[:SHOWN]}")
        self._settled_s = time.monotonic() - began
        self._say(f"settled after {self._settled_s:.1f} s")

    def _unsettled(self) -> list[str]:
        try:
            if left := [f"run {run['id']} is {run['state']}" for run in self._rest.items("/runs") if run["state"] not in FINAL]:
                return left
            if left := self._collector.undone() or self._collector.ends().undecided:
                return left
            return _behind(self._rest)
        except (KafkaException, AssertionError, NotSignedIn, httpx2.TransportError) as error:
            return [repr(error)]

    # --- look ---------------------------------------------------------------------------------------------------------

    def look(self) -> Report:
        """Collect everything and hold it against what clients were told and what targets saw."""
        unknown = self._ask_about_unknown()
        self._live, rebuilt = self._rebuilt()
        try:
            self._log = self._collector.everything(COLLECTED_WITHIN_S)
        except (TimeoutError, KafkaException) as error:
            self._wrong("does_not_settle", f"the log cannot be read to its end: {error}")
        witness = Witness(list(self._fleet.told()), self._live["run_steps"])
        case, evidence = Case(self._history, self._log), self._evidence(witness, rebuilt)
        for name, what in (*unexplained(case), *unfitting(witness)):
            self._wrong(name, what)
        for violation in violations(evidence):
            self._wrong(violation.invariant, violation.what)
        for what in self._there.crashed:
            self._wrong(NO_ROLE_ENDS_BY_ITSELF, what)
        looked = {**seen(witness), **looked_at((*SAID, *INVARIANTS), case, evidence)}
        self._report.lines += self._figures(unknown, witness)
        self._report.lines += lines({**looked, NO_ROLE_ENDS_BY_ITSELF: self._there.started})
        self._report.met, self._report.lacking = self._trouble.met, self._too_little(witness)
        return self._report

    def _too_little(self, witness: Witness) -> list[str]:
        runs, least = self._live["runs"], LEAST_SHARE * self._asked.runs
        done = {
            "runs that were started": sum(self._course.asked.values()),
            "runs that ended": sum(run["state"] in FINAL for run in runs),
            "attempts that began on a target": len(witness.begun),
            "faults that met something": sum(self._trouble.met.values()),
        }
        return too_little(done, dict(zip(done, (least, least, least, self._asked.minutes), strict=True)))

    def _ask_about_unknown(self) -> Sequence[Write]:
        unknown = [write for write in self._history.writes if not write.definite]
        connection = self._connection()
        asking = Starter(CLIENTS, connection, Names(), self._history, Random(0), course=self._course)
        for write in unknown:
            write.tries.append(asking.asked(write))
        connection.close()
        return unknown

    def _rebuilt(self) -> tuple[Rows, Rows]:
        """The live read models once they have seen everything (signing in is an event, too), and those built anew."""
        roles = self._there.roles
        eventually(roles.log_in, within=UP_WITHIN_S, every=1)
        until = time.monotonic() + SLACK_S
        while (left := _behind(self._rest)) and time.monotonic() < until:
            time.sleep(0.3)
        before = roles.rows()
        done = roles.command("projections", "rebuild", "--all")
        if done.returncode or left:
            self._wrong("read_models_are_the_log", f"rebuilding: {done.stderr} {left}")
        return before, roles.rows()

    def _evidence(self, witness: Witness, rebuilt: Rows) -> Evidence:
        return Evidence(
            told=told(self._history, self._log, self._there.roles),
            events=self._log.events,
            outcomes=[at.body for at in self._log.outcomes],
            commands=self._log.taken,
            output=self._log.output,
            written=written(witness),
            starts=starts(witness, _decided(self._log)),
            still_running=marks_alive(),
            live=self._live,
            rebuilt=rebuilt,
            unforeseen=[*self._history.unforeseen, *self._log.strange],
        )

    def _wrong(self, name: str, what: str) -> None:
        self._report.broken.append((name, what))

    # --- figures ------------------------------------------------------------------------------------------------------

    def _figures(self, unknown: Sequence[Write], witness: Witness) -> Iterator[str]:
        yield from self._figures_of_faults()
        yield from self._figures_of_commands(unknown)
        runs, steps = self._live["runs"], self._live["run_steps"]
        yield f"runs: {len(runs)}: {_counted(run['state'] for run in runs)}"
        yield f"held more than once: {sum(run['epoch'] > 1 for run in runs)} runs; most epochs: {max(r['epoch'] for r in runs)}"
        yield f"steps: {len(steps)} attempts: {_counted(step['state'] for step in steps)}"
        yield f"witness: {len(witness.begun)} attempts began on {len({line.target for line in witness.lines})} targets"
        yield f"log: {len(self._log.events)} events, {len(self._log.outcomes)} outcomes, {len(self._log.commands)} commands"
        (told, _), begun = self._history.stalls[0], longest_stall(witness.lines)
        yield f"longest stall: {told:.1f} s without an answered command, {begun:.1f} s without a step's begin"
        yield f"all runs had ended {self._settled_s:.1f} s after all was up"

    def _figures_of_faults(self) -> Iterator[str]:
        trouble, there = self._trouble, self._there
        for way in WAYS:
            kinds = {kind: n for kind, n in sorted(trouble.met.items()) if kind.startswith(way)}
            yield f"{way}: {sum(kinds.values())}: " + ", ".join(f"{n} {kind.partition(' ')[2]}" for kind, n in kinds.items())
        if trouble.met_nothing:
            yield "nothing met: " + ", ".join(f"{n} {kind}" for kind, n in sorted(trouble.met_nothing.items()))
        yield f"started again: {there.started}; of these ended by themselves: {dict(there.ended)}"
        yield f"killed since an orderly end took too long: {self._trouble.slow_ends}"

    def _figures_of_commands(self, unknown: Sequence[Write]) -> Iterator[str]:
        writes = self._history.writes
        doubted = [w for w in writes if any(t.said is Said.UNKNOWN and not t.asked for t in w.tries)]
        resolved = _counted(write.said.value if write.definite else "never came" for write in doubted)
        yield f"commands: {len(writes)} in {self._worked_s:.0f} s: {_counted(write.said.value for write in writes)}"
        yield f"in doubt at some time: {len(doubted)}, which came to: {resolved}; until all was healed: {len(unknown)}"
        yield f"answers: {_counted(one.how for write in writes for one in write.tries)}"
        yield f"runs asked for: {_counted(job for job, n in self._course.asked.items() for _ in range(n))}"

    def end(self) -> None:
        """Stop what this started itself."""
        self._stop.set()
        self._supervising.join(30)
        self._rest.close()


def _behind(rest: Rest) -> list[str]:
    listed = rest.get("/projections")["items"]
    return [
        f"read model {p['name']} is {p['state']}, {p['lag_events']} behind"
        for p in listed
        if p["lag_events"] or p["state"] != "live"
    ]


def _counted(what: Iterator[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in Counter(what).most_common())


def _decided(log: WholeLog) -> Mapping[Partition, Sequence[tuple[float, int]]]:
    """When the events of each partition were about to be committed: an outcome is written in its events' transaction."""
    times = {at.body.command_id: at.time for at in reversed(log.outcomes)}
    found: dict[Partition, list[tuple[float, int]]] = {
        Partition(topic, shard): [] for topic in EVENT_TOPICS for shard in range(log.shards)
    }
    for recorded in log.events:
        found[recorded.position.partition].append((times.get(recorded.event.command_id, 0.0), recorded.position.offset))
    return found


def longest_stall(lines: Sequence[Line]) -> float:
    """The longest time in which no step began on any target, in seconds."""
    return max(
        (later - earlier for earlier, later in pairwise(sorted(line.at for line in lines if line.what == "begin"))), default=0.0
    )


def marks_alive() -> set[str]:
    """The marks of steps whose processes run on this machine."""
    found = set()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = environment.read_bytes().split(b"\0")
        except OSError:
            continue
        found |= {v.partition(b"=")[2].decode().rstrip(":") for v in variables if v.startswith(b"OPS_STEP_MARK=")}
    return found

"""One seed, one whole history: owners, executors, sweeper, projections and clients on the memory log, in fake time, under faults.

Only the outside is simulated: network, clocks, threads, targets and people. The owner, the executor and sweeper runtimes, the
follower with its SQL store and the inventory are the real ones. A seed draws everything: the order of callbacks, what goes wrong
and when. After a while all faults are healed, and what was recorded is the evidence for `tests.support.checker`.
"""

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from random import Random
from typing import Any
from unittest.mock import patch

from sqlalchemy import Engine, select

from infra.memory.log import MemoryLog
from infra.sql.read_store import SqlReadStore
from processors.executor import held_run, plan_parts
from projections import follow, tables
from projections.all import BY_NAME, TABLE
from projections.follow import Follower
from projections.position import has_reached, status
from projections.rebuild import ask_for_rebuild
from schemas.command_envelope import CommandEnvelope
from schemas.event_envelope import EventEnvelope, RecordedEvent
from schemas.log import TakenCommand, Undecodable
from schemas.outcome import Outcome
from schemas.partitioning import shard_of
from schemas.position import Partition, Position
from schemas.run_output import OutputChunk
from schemas.topics import COMMANDS_PEOPLE, COMMANDS_SYSTEM, EVENT_TOPICS, EXECUTORS, OUTCOMES, RUN_OUTPUT
from schemas.wire import encode
from tests.support.checker import Violation, violations
from tests.support.evidence import Evidence
from tests.support.simulated_clients import Client, Notebook
from tests.support.simulated_databases import Databases
from tests.support.simulated_fleet import SimulatedFleet
from tests.support.simulated_ports import FaultyVault, Network, OutcomesSeen, Reader, Sender, SimulatedClock
from tests.support.simulated_process import Process, SimulationLoop
from tests.support.simulated_roles import LEASE_S, Place, Running, Unheard, roles_of
from tests.support.simulated_world import world_of

LANES = (COMMANDS_PEOPLE, COMMANDS_SYSTEM)

SETTLED_WITHIN_S = 400.0
"""How long after that the last run may take to end: leases, time-outs and retries of runs that wait for each other."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one seed came to.

    `digest` covers every byte of the log, `turns` are the callbacks that ran; `faults` counts what went wrong, by its name, and
    only what took effect.
    """

    seed: int
    evidence: Evidence
    violations: list[Violation]
    faults: Mapping[str, int]
    digest: str
    turns: int
    seconds: float


class Simulation:
    """One seed's world."""

    def __init__(self, seed: int) -> None:
        self.loop = SimulationLoop(Random(f"{seed} order"))
        self.dice = Random(f"{seed} faults")
        self.world = world_of(Random(f"{seed} world"))
        self.log = MemoryLog(self.world.shards)
        self.network = Network(self.loop, self.log, Random(f"{seed} network"), moods=seed)
        self.log.at = self.network.at
        self.fleet = SimulatedFleet(self.network, Random(f"{seed} fleet"))
        self.databases = Databases(self.world.real_database)
        self.writer, self.reader = self.databases.open("live")
        self.book = Notebook(Random(f"{seed} clients"), tuple(f"web-{number}" for number in range(self.world.targets)))
        self.vault = FaultyVault(self.network)
        self.unforeseen: list[str] = []
        self.unsettled: list[str] = []
        self.places: dict[str, Running] = {}
        self.closing = self.clients_done = False
        self._counted: dict[tuple[Partition, str], tuple[int, int]] = {}
        self.loop.set_exception_handler(self._unforeseen)

    # --- roles --------------------------------------------------------------------------------------------------------

    async def _furnish(self) -> None:
        """The first commands are in their lanes before anybody starts."""
        for command in await self._client(Process(self.loop, "api", lambda process: None)).furnish():
            self.log.put(Partition(COMMANDS_PEOPLE, shard_of(command.stream, self.log.shards)), encode(command))

    def _begin(self) -> None:
        place = Place(
            loop=self.loop,
            network=self.network,
            fleet=self.fleet,
            vault=self.vault,
            writer=self.writer,
            reader=self.reader,
            dice=self.dice,
            crashed=lambda what, error: self.unforeseen.append(f"{what}: {error!r}"),
        )
        for name, make in roles_of(self.world).items():
            self.places[name] = Running(name, make, place, self._died)
            self.places[name].start()
        self._start_clients(Process(self.loop, "api", self._clients_died))

    def _died(self, running: Running) -> None:
        """Somebody starts it again, also one that was told to stop and has only now."""
        if not self.closing:
            self.loop.later(self.dice.uniform(0.1, 15), running.start)

    def _start_clients(self, process: Process) -> None:
        self.api, world, client = process, self.world, self._client(process)

        async def live() -> None:
            await asyncio.gather(*(client.act(world.quiet_s + world.faulty_s, world.pace_s) for _ in range(world.clients)))
            self.clients_done = True

        process.start(live())

    def _client(self, process: Process) -> Client:
        sender, outcomes = Sender(self.network, process), OutcomesSeen(self.network, process)
        return Client(self.book, sender, outcomes, self.vault, SimulatedClock(self.loop, process))

    def _clients_died(self, process: Process) -> None:
        self._start_clients(Process(self.loop, "api", self._clients_died))

    def _unforeseen(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.unforeseen.append(f"{context.get('message')}: {context.get('exception')!r}")

    # --- faults -------------------------------------------------------------------------------------------------------

    async def _torment(self) -> None:
        faults: dict[Callable[[], None], int] = {
            self._kill: 6,
            self._pause: 4,
            self._cut: 3,
            self._split: 2,
            self._blind: 2,
            self._refuse: 2,
            self._fence: 2,
            self._target_dies: 2,
            self._stop: 2,
            self._database_down: 1,
            self._clock_jumps: 2,
            self._rebuild: 1,
            self._api_dies: 1,
        }
        weights = [weight * self.dice.choice((0, 1, 1, 3)) for weight in faults.values()]
        if not any(weights):
            weights = list(faults.values())
        self.network.calm = True
        await asyncio.sleep(self.world.quiet_s)
        self.network.calm = False
        while self.loop.time() < self.world.faulty_s + self.world.quiet_s:
            await asyncio.sleep(self.dice.uniform(0.1, self.world.calm_s))
            self.dice.choices(list(faults), weights)[0]()

    def _anyone(self) -> Running:
        return self.dice.choice(list(self.places.values()))

    def _kill(self) -> None:
        """As kill -9, at some callback from now on."""
        fault = self.network.fault("kill")
        self._anyone().process.light(self.dice.choice((0, 5, 40, 200)) + self.dice.randrange(20), fault)

    def _pause(self) -> None:
        running = self._anyone()
        running.pause(self.dice.choice((0.5, 3, 10, 30)) * self.dice.uniform(0.5, 1), self.network.fault("pause"))

    def _cut(self) -> None:
        """A partition between one role, or the API, and the log: both ways or one."""
        what, mute, deaf = self.dice.choice((("cut", True, True), ("cut outwards", True, False), ("cut inwards", False, True)))
        fault, seconds = self.network.fault(what), self.dice.uniform(0.5, 12)
        if self.dice.random() < 0.15:
            self.api.cut(fault, mute, deaf)
            self.loop.later(seconds, self.api.heal)
        else:
            self._anyone().cut(seconds, fault, mute, deaf)

    def _split(self) -> None:
        """A partition between an executor and some targets."""
        executor = self.dice.choice([running for name, running in self.places.items() if name.startswith("executor")])
        targets = self.dice.sample(self.book.targets, self.dice.choice((1, 2, len(self.book.targets))))
        fault = self.network.fault("executor split from targets")
        self.fleet.part(executor.process, targets, self.dice.uniform(0.5, 12), fault)

    def _blind(self) -> None:
        """A partition between one role and the read models."""
        process = self._anyone().process
        process.blinded = self.network.fault("cut from read models")
        self.loop.later(self.dice.uniform(0.5, 8), setattr, process, "blinded", None)

    def _refuse(self) -> None:
        """The log goes on being read and takes no heartbeats: too few replicas in sync, a full disk."""
        self.network.refuses = self.network.fault("heartbeats refused")
        self.loop.later(self.dice.uniform(4, 20), setattr, self.network, "refuses", None)

    def _fence(self) -> None:
        owner = self.dice.choice([running for name, running in self.places.items() if name.startswith("owner")])
        owner.session_over(self.network.fault("owner fenced"))

    def _target_dies(self) -> None:
        target = self.dice.choice(self.book.targets)
        self.fleet.die(target, self.dice.uniform(0.5, 15), self.network.fault("target dies"))

    def _stop(self) -> None:
        self._anyone().stop(self.network.fault("stop in order"))

    def _database_down(self) -> None:
        self.databases.down = self.network.fault("database down")
        self.loop.later(self.dice.uniform(0.1, 4), setattr, self.databases, "down", None)

    def _clock_jumps(self) -> None:
        self._anyone().process.set_clock(self.dice.uniform(-30, 30), self.network.fault("clock jumps"))

    def _api_dies(self) -> None:
        self.network.fault("api dies").bites()
        self.api.kill()

    def _rebuild(self) -> None:
        if self.databases.down is None:
            self.network.fault("rebuild").bites()
            with self.writer.begin() as connection:
                ask_for_rebuild(connection, self.dice.choice(list(BY_NAME)))

    def _heal(self) -> None:
        self.network.calm = True
        self.network.refuses = None
        self.databases.down = None
        self.fleet.down.clear()
        self.fleet.split.clear()
        self.api.heal()
        for running in self.places.values():
            running.heal()

    # --- the whole ----------------------------------------------------------------------------------------------------

    async def live(self) -> Evidence:
        """From nothing to the evidence."""
        await self._furnish()
        self._begin()
        await self._torment()
        self._heal()
        if not await self._until(SETTLED_WITHIN_S, self._is_settled):
            self.unsettled += self._left()
        self.closing = True
        for name, running in self.places.items():
            if name.startswith(("sweeper", "executor")):
                running.process.kill()
        if not await self._until(SETTLED_WITHIN_S, self._is_quiet):
            self.unsettled += [*self._left(), "commands, projections or rebuilds go on though nobody asks for anything any more"]
        self.unforeseen += [f"{r.name} ended: {why}" for r in self.places.values() for why in r.ended]
        live = _rows(self.reader)
        stopped = [f"{s.name}: {s.error}" for s in self._status() if s.state != "live"]
        return Evidence(
            told=list(self.book.told),
            events=list(self._recorded_events()),
            outcomes=[body for _, body in self._records([OUTCOMES]) if isinstance(body, Outcome)],
            starts=self.fleet.starts,
            still_running=self.fleet.still_running,
            live=live,
            rebuilt=await self._rebuilt(),
            commands=[
                TakenCommand(at, body) for at, body in self._records(LANES) if isinstance(body, CommandEnvelope | Undecodable)
            ],
            output=[(at, body) for at, body in self._records([RUN_OUTPUT]) if isinstance(body, OutputChunk)],
            written=self.fleet.written,
            unsettled=self.unsettled,
            stopped_projections=stopped,
            unforeseen=list(self.unforeseen),
            beats=self.network.beats,
            expiries=self.network.expiries,
            lease_s=LEASE_S,
        )

    async def _until(self, within_s: float, holds: Callable[[], bool]) -> bool:
        """Whether it holds in time."""
        until = self.loop.time() + within_s
        while not holds():
            if self.loop.time() >= until:
                return False
            await asyncio.sleep(0.5)
        return True

    def _is_settled(self) -> bool:
        """Whether people have done and everything they asked for has come to its end."""
        return next(self._left(), None) is None

    def _left(self) -> Iterator[str]:
        """What has not come to its end."""
        if not self.clients_done:
            yield "clients have not done what they wanted to"
        if self.network.on_their_way:
            yield f"{self.network.on_their_way} commands are on their way"
        if not self._everything_consumed():
            yield "commands are not decided"
        for topic, begun, ended in (
            ("runs", "RunRequested", "RunFinished"),
            ("targets", "TargetCheckRequested", "TargetChecked"),
        ):
            numbers = self._number_of(topic, begun), self._number_of(topic, ended)
            if numbers[0] != numbers[1]:
                yield f"{numbers[0]} {begun} and {numbers[1]} {ended}"

    def _is_quiet(self) -> bool:
        """Whether nothing will happen any more when nobody says anything."""
        return self._everything_consumed() and self._projected(self.reader) and not self._rebuilding()

    def _everything_consumed(self) -> bool:
        storage = self.log.storage
        lanes = [Partition(lane, s) for lane in LANES for s in range(self.log.shards)]
        return not storage.undecided and all(storage.consumed.get(lane, 0) >= storage.end(lane) for lane in lanes)

    def _rebuilding(self) -> bool:
        return any(s.state == "rebuilding" for s in self._status())

    def _status(self) -> list[Any]:
        with self.reader.connect() as connection:
            return list(status(connection, self._ends(), datetime(2026, 3, 14, tzinfo=UTC)))

    def _ends(self) -> dict[Partition, int]:
        topics = sorted({topic for projection in TABLE for topic in projection.topics})
        of = [Partition(topic, shard) for topic in topics for shard in range(self.log.shards)]
        return {partition: self.log.storage.end(partition) for partition in of}

    def _projected(self, reader: Engine) -> bool:
        with reader.connect() as connection:
            return all(has_reached(connection, name, self._ends()) for name in BY_NAME)

    async def _rebuilt(self) -> Mapping[str, Any]:
        writer, reader = self.databases.open("rebuilt")
        process = Process(self.loop, "rebuild", lambda process: None)
        process.start(Follower(Reader(self.network, process), SqlReadStore(writer), Unheard()).run())
        if not await self._until(60, lambda: self._projected(reader)):
            self.unsettled.append("read models are not built anew in time")
        process.kill()
        return _rows(reader)

    # --- the log ------------------------------------------------------------------------------------------------------

    def _records(self, topics: Any) -> Iterator[tuple[Position, Any]]:
        for partition in [Partition(topic, shard) for topic in topics for shard in range(self.log.shards)]:
            for offset, record in self.log.storage.committed(partition, 0):
                if record is not None:
                    yield Position(*partition, offset), self.log.storage.body(partition, offset)

    def _number_of(self, topic: str, kind: str) -> int:
        """How many events of a kind the log has; what was counted is not counted again."""
        wanted, storage = ("ce_type", kind.encode()), self.log.storage
        for partition in [Partition(topic, shard) for shard in range(self.log.shards)]:
            number, start = self._counted.get((partition, kind), (0, 0))
            number += sum(r is not None and wanted in r.headers for _, r in storage.committed(partition, start))
            self._counted[partition, kind] = number, storage.stable_end(partition)
        return sum(number for (partition, said), (number, _) in self._counted.items() if said == kind)

    def _recorded_events(self) -> Iterator[RecordedEvent]:
        for position, body in self._records(EVENT_TOPICS):
            if isinstance(body, EventEnvelope):
                yield RecordedEvent(body, position)
            else:
                self.unforeseen.append(f"{position} is no event: {body}")

    def digest(self) -> str:
        """Of every record in the log, aborted ones included, in its place."""
        said = sha256()
        topics = (*EVENT_TOPICS, OUTCOMES, *LANES, RUN_OUTPUT, EXECUTORS)
        for partition in [Partition(topic, shard) for topic in topics for shard in range(self.log.shards)]:
            said.update(repr((partition, list(_entries(self.log, partition)))).encode())
        return said.hexdigest()


def _entries(log: MemoryLog, partition: Partition) -> Iterator[tuple[Any, str]]:
    for entry in log.storage._entries.get(partition, ()):
        yield entry.record, entry.transaction.fate.name if entry.transaction else ""


def _rows(reader: Engine) -> dict[str, list[dict[str, Any]]]:
    with reader.connect() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns)).mappings()]
            for table in tables.metadata.sorted_tables
        }


@contextmanager
def _silence() -> Iterator[None]:
    """What the roles log about faults is no news here."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _small_bounds(dice: Random) -> Iterator[None]:
    """Plans and reports are cut into parts that a few targets already fill; idle projections look about less often."""
    limit = dice.choice((1, 400, 450_000))
    with (
        patch.object(held_run, "parts_of", partial(plan_parts.parts_of, limit=limit)),
        patch.object(held_run, "MAX_ENTRIES", dice.choice((1, 3, 500))),
        patch.object(follow, "_IDLE_WAIT_S", dice.choice((0.1, 1.0, 1.0))),
    ):
        yield


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A seed's tasks are all let go of at its end, whatever happens; the collector would only go through them again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def simulate(seed: int) -> Run:
    """Live through one seed. Raises `Stuck` when it does not come to an end."""
    with _silence(), _no_garbage_collection(), _small_bounds(Random(f"{seed} bounds")):
        simulation = Simulation(seed)
        loop = simulation.loop
        try:
            evidence = loop.run_until_complete(simulation.live())
            seconds, turns, digest = loop.time(), loop.turns, simulation.digest()
        finally:
            simulation.loop.bury()
            loop.close()
    return Run(seed, evidence, violations(evidence), simulation.network.faults, digest, turns, seconds)

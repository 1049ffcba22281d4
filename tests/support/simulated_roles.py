"""How is each role started in the simulation, and what follows when its process dies, is paused or loses its session?"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sqlalchemy import Engine

from commands.owner import Bounds, Owner, Ports
from infra.memory.state_store import MemoryStateStores
from infra.memory.storage import Fate
from infra.sql.read_store import SqlReadStore
from processors.bindings.embedded import feed_events
from processors.executor.core import Limits
from processors.executor.runtime import ExecutorPorts, ExecutorRuntime, ExecutorSettings
from processors.sweeper.runtime import SweeperPorts, SweeperRuntime
from projections.follow import Follower
from schemas.vault import Vault
from tests.support.simulated_fleet import SimulatedFleet
from tests.support.simulated_ports import (
    Disks,
    Network,
    OutcomesSeen,
    Owned,
    Reader,
    Records,
    Seen,
    Sender,
    SimulatedClock,
    Store,
    faulty_offer,
)
from tests.support.simulated_process import Fault, Process, SimulationLoop
from tests.support.simulated_world import World

LEASE_S = 6.0
GRACE_S = 3.0
SESSION_S = 4.0
"""After so long without a sign of life an owner's shards pass to others; three times that and its transaction is aborted."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a role lives: everything outside of it. `disks` is what owners leave behind on theirs."""

    loop: SimulationLoop
    network: Network
    fleet: SimulatedFleet
    vault: Vault
    writer: Engine
    reader: Engine
    dice: Random
    crashed: Callable[[str, Exception], None]
    disks: dict[str, MemoryStateStores] = field(default_factory=dict)


@dataclass
class Begun:
    """A role at work: what it does, how it is asked to stop in order, and an owner's membership."""

    work: Coroutine[Any, Any, None]
    stop: Callable[[], None]
    owned: Owned | None = None


def _owner(place: Place, process: Process, number: int) -> Begun:
    dice, stop = place.dice, asyncio.Event()
    owned = Owned(place.network, process, process.name)
    stores = Disks(place.network, place.disks.setdefault(process.name, MemoryStateStores()))
    clock = SimulatedClock(place.loop, process)
    ports = Ports(log=owned, reader=Reader(place.network, process), stores=stores, sleep=asyncio.sleep, monotonic=clock.monotonic)
    bounds = Bounds(
        batch=dice.choice((1, 5, 50)),
        transaction=dice.choice((1, 3, 50)),
        transaction_bytes=dice.choice((4_000, 100_000)),
        save_every_commands=dice.choice((5, 50)),
        cached_streams=dice.choice((1, 5, 1_000)),
    )
    return Begun(Owner(ports, bounds).run(stop), stop.set, owned)


def _executor(place: Place, process: Process, number: int) -> Begun:
    network, reader = place.network, Reader(place.network, process)
    limits = Limits(
        runs=place.dice.choice((2, 500)), waiting=place.dice.choice((1, 1_000)), steps=place.dice.choice((1, 3, 1_000))
    )
    runtime = ExecutorRuntime(
        ExecutorSettings(executor=f"{process.name}-{number}", lease_s=LEASE_S, grace_s=GRACE_S, limits=limits),
        ExecutorPorts(
            sender=Sender(network, process),
            outcomes=OutcomesSeen(network, process),
            records=Records(network, process),
            shards=network.log.shards,
            inventory=Seen(network, process, place.reader),
            vault=place.vault,
            connector=place.fleet,
            clock=SimulatedClock(place.loop, process),
            sleep=asyncio.sleep,
            crashed=place.crashed,
        ),
    )

    async def work() -> None:
        feed = asyncio.create_task(feed_events(reader, faulty_offer(network, runtime.offer), asyncio.sleep))
        try:
            await runtime.run()
        finally:
            feed.cancel()

    return Begun(work(), runtime.stop)


def _sweeper(place: Place, process: Process, number: int) -> Begun:
    ports = SweeperPorts(
        sender=Sender(place.network, process),
        records=Records(place.network, process),
        reader=Reader(place.network, process),
        inventory=Seen(place.network, process, place.reader),
        clock=SimulatedClock(place.loop, process),
        sleep=asyncio.sleep,
    )
    return Begun(SweeperRuntime(LEASE_S, ports).run(), process.kill)


def _projections(place: Place, process: Process, number: int) -> Begun:
    follower = Follower(Reader(place.network, process), Store(place.network, process, SqlReadStore(place.writer)), Unheard())
    return Begun(follower.run(), process.kill)


class Unheard:
    """Implements `Wakeups` where nobody waits for read models."""

    async def wake(self, topics: Any) -> None:
        """Nobody hears it."""

    def listen(self, topic: str) -> Any:
        raise AssertionError("the follower listens to nobody")


def roles_of(world: World) -> Mapping[str, Callable[[Place, Process, int], Begun]]:
    """Every role by its name, and how it begins."""
    return {
        **dict.fromkeys((f"owner-{letter}" for letter in "abc"[: world.owners]), _owner),
        **dict.fromkeys((f"executor-{letter}" for letter in "abc"[: world.executors]), _executor),
        **dict.fromkeys((f"sweeper-{letter}" for letter in "ab"[: world.sweepers]), _sweeper),
        "projections": _projections,
    }


class Running:
    """One role, in one process after the other. `ended` says why it ended by itself, which it must not."""

    def __init__(
        self, name: str, make: Callable[[Place, Process, int], Begun], place: Place, died: Callable[["Running"], None]
    ) -> None:
        self.name = name
        self.ended: list[str] = []
        self.process: Process
        self._make, self._place, self._died = make, place, died
        self._begun: Begun
        self._stopping = False
        self._number = 0

    def start(self) -> None:
        """A new process."""
        if self._number and not self.process.dead:
            return
        self._number += 1
        self._stopping = False
        self.process = Process(self._place.loop, self.name, self._after_death)
        self._begun = self._make(self._place, self.process, self._number)
        task = self.process.start(self._begun.work)
        task.add_done_callback(self._after_end)

    def stop(self, fault: Fault) -> None:
        """In order, as on SIGTERM."""
        if not self.process.dead and not self._stopping:
            fault.bites()
        self._stopping = True
        self._begun.stop()

    def pause(self, seconds: float, fault: Fault) -> None:
        """SIGSTOP, and SIGCONT later; an owner's session and transaction may be over by then."""
        process, loop = self.process, self._place.loop
        process.pause(fault)
        loop.later(seconds, process.resume)
        if seconds > SESSION_S:
            loop.later(SESSION_S, self._session_over, process, self._begun.owned)

    def cut(self, seconds: float, fault: Fault, mute: bool, deaf: bool) -> None:
        """No way to the log, or none back, for so long; of an owner that is mute the log thinks that it is dead."""
        process, loop = self.process, self._place.loop
        process.cut(fault, mute, deaf)
        loop.later(seconds, process.join)
        if mute and seconds > SESSION_S:
            loop.later(SESSION_S, self._session_over, process, self._begun.owned)

    def session_over(self, fault: Fault) -> None:
        """An owner's shards pass to others, and it does not know."""
        if self._session_over(self.process, self._begun.owned):
            fault.bites()

    def heal(self) -> None:
        """Everything is well from now on; but who is stranded goes on when its time is over, or nobody would ever be late."""
        self.process.heal()
        if self.process.paused and not self.process.stranded:
            self.process.resume()
        self.start()

    def _after_end(self, task: asyncio.Task[None]) -> None:
        if not self._stopping:
            self.ended.append(repr(task.exception()) if not task.cancelled() else "cancelled")
        self.process.kill()

    def _after_death(self, process: Process) -> None:
        self._session_ends_later(process)
        self._died(self)

    def _session_ends_later(self, process: Process) -> None:
        owned = self._begun.owned
        if owned is None:
            return
        self._place.loop.later(SESSION_S, self._session_over, process, owned)
        transaction = owned.inner._undecided
        if transaction is not None and transaction.fate is Fate.UNDECIDED:
            self._place.network.orphan(transaction)

    def _session_over(self, process: Process, owned: Owned | None) -> bool:
        """Whether there was a session."""
        log = self._place.network.log
        if owned is None or not log.is_producer(owned.instance, owned.inner.member):
            return False
        log.fence(owned.instance)
        transaction = owned.inner._undecided
        if transaction is not None and transaction.fate is Fate.UNDECIDED:
            self._place.loop.later(2 * SESSION_S, self._place.network.expire, transaction)
        return True

"""A role exactly as `opsconductor` starts it, but rigged from outside: `python -m tests.jepsen.armed commands`.

In the folder JEPSEN_RIG, under the instance's name:

    <instance>.armed    "point action": at that crash point the process kills itself (`kill`) or stops itself (`stop`), once; the
                        file is gone as soon as it has happened
    <instance>.clock    by how many seconds the process's clock is wrong now: what it writes in records and headers, never how
                        it measures time

JEPSEN_PLANT names a bug of `planted.py` that is put into the role. Time-outs are shorter than in production, in the same order
(HAZARDS R9), so that minutes see what would otherwise take an hour.
"""

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

import commands.recovery
import commands.taking_over
import infra.kafka.consuming
import infra.kafka.lanes
import infra.kafka.transaction
import infra.wiring.composition
from commands.owner import Owner
from infra.kafka.owned_shards import KafkaOwnedShards
from infra.kafka.settings import KafkaLogSettings
from infra.kafka.watchdog import Watchdog
from infra.sqlite.state_store import SqliteStateStore
from infra.wiring.outside import SystemClock
from infra.wiring.settings import Settings

POINTS = (
    "after take, before decide",
    "after decide, before begin",
    "after begin, before produce",
    "between two records produced",
    "after produce, before flush",
    "after flush, before send_offsets",
    "after send_offsets, before commit",
    "after commit, before it is known",
    "after commit, before publish",
    "after publish, before save",
    "after save, before it is known",
    "before init_transactions",
    "after init_transactions",
    "in recovery, before replay",
    "after recovery",
)
"""Where an owner can be made to fall, in the order in which it comes by; the last four only when it starts or takes over."""

CALL_S, TRANSACTION_S, SESSION_S = 1.5, 2.5, 3.5
LOOKED_AT_EVERY_S = 4.0
"""How often a client looks whether it has lost its brokers for good."""

RIG, PLANT = "JEPSEN_RIG", "JEPSEN_PLANT"


class Rig:
    """The files by which one process is rigged."""

    def __init__(self, folder: Path, instance: str) -> None:
        self.armed = folder / f"{instance}.armed"
        self.clock = folder / f"{instance}.clock"

    def reached(self, point: str) -> None:
        """Fall here if armed for it."""
        try:
            wanted, _, action = self.armed.read_text().rpartition(" ")
        except FileNotFoundError:
            return
        if wanted == point:
            self.armed.unlink()
            # To this very thread: sent to the process, another one may take it while this one goes on past the point.
            signal.pthread_kill(threading.get_ident(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)

    def wrong_by_s(self) -> float:
        """How wrong the clock is."""
        try:
            return float(self.clock.read_text() or 0)
        except FileNotFoundError:
            return 0.0


def main() -> None:
    """Rig this process, then be the command line."""
    rig = Rig(Path(os.environ[RIG]), Settings().instance_name)
    _shorten_time_outs()
    _make_clock_wrong(rig)
    _arm_producer(rig)
    _arm_owner(rig)
    _tell_where_it_hung()
    if plant := os.environ.get(PLANT):
        from tests.jepsen.planted import PLANTED

        PLANTED[plant]()
    from infra.cli.main import main as command_line

    command_line()


def _shorten_time_outs() -> None:
    real = infra.wiring.composition.kafka_settings

    def shortened(settings: Settings) -> KafkaLogSettings:
        return replace(real(settings), call_s=CALL_S, transaction_s=TRANSACTION_S, session_s=SESSION_S, heartbeat_s=0.3, send_s=6)

    infra.wiring.composition.kafka_settings = shortened
    for looking in (infra.kafka.lanes, infra.kafka.consuming):
        looking._LOOKED_AT_EVERY_S = LOOKED_AT_EVERY_S


def _make_clock_wrong(rig: Rig) -> None:
    clocks: Any = SystemClock
    real = clocks.now

    def now(clock: SystemClock) -> datetime:
        return real(clock) + timedelta(seconds=rig.wrong_by_s())

    clocks.now = now


def _arm_producer(rig: Rig) -> None:
    class Armed(Producer):
        """The owner's producer with crash points; its records bear the time of the wrong clock."""

        def init_transactions(self, *given: Any) -> Any:
            rig.reached("before init_transactions")
            super().init_transactions(*given)
            rig.reached("after init_transactions")

        def begin_transaction(self) -> None:
            super().begin_transaction()
            self.produced = 0
            rig.reached("after begin, before produce")

        def produce(self, *given: Any, **named: Any) -> None:
            super().produce(*given, **named, timestamp=int((time.time() + rig.wrong_by_s()) * 1000))
            self.produced += 1
            if self.produced == 1:
                rig.reached("between two records produced")

        def flush(self, *given: Any) -> Any:
            rig.reached("after produce, before flush")
            left = super().flush(*given)
            rig.reached("after flush, before send_offsets")
            return left

        def send_offsets_to_transaction(self, *given: Any) -> None:
            super().send_offsets_to_transaction(*given)
            rig.reached("after send_offsets, before commit")

        def commit_transaction(self, *given: Any) -> None:
            super().commit_transaction(*given)
            rig.reached("after commit, before it is known")

    transaction: Any = infra.kafka.transaction
    transaction.Producer = Armed


def _tell_where_it_hung() -> None:
    def exit_process(status: int) -> None:
        faulthandler.dump_traceback(all_threads=True)
        os._exit(status)

    Watchdog.__init__.__defaults__ = (exit_process, *(Watchdog.__init__.__defaults__ or ())[1:])


Call = Callable[..., Awaitable[Any]]


def _around(call: Call, before: Callable[[], None] | None = None, after: Callable[[Any], None] | None = None) -> Call:
    @wraps(call)
    async def wrapped(*given: Any, **named: Any) -> Any:
        if before:
            before()
        result = await call(*given, **named)
        if after:
            after(result)
        return result

    return wrapped


def _arm_owner(rig: Rig) -> None:
    def at(point: str) -> Callable[..., None]:
        return lambda *_: rig.reached(point)

    def taken(batch: Any) -> None:
        if batch.commands:
            rig.reached("after take, before decide")

    shards: Any = KafkaOwnedShards
    shards.take = _around(shards.take, after=taken)
    shards.commit = _around(shards.commit, at("after decide, before begin"), at("after commit, before publish"))
    owner: Any = Owner
    owner._save = _around(owner._save, at("after publish, before save"))
    store: Any = SqliteStateStore
    store.save = _around(store.save, after=at("after save, before it is known"))
    owning: Any = commands.taking_over
    owning.recover = _around(owning.recover, after=at("after recovery"))
    recovering: Any = commands.recovery
    recovering._catch_up = _around(recovering._catch_up, at("in recovery, before replay"))


if __name__ == "__main__":
    main()

"""How fast is the command path on the embedded log, beside bare inserts of the same bytes with the same durability?"""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.figures import Line, at_least, at_most, median, percentile
from bench.kafka_path import Amounts
from bench.owner_process import AHEAD, Counted, Readiness, Tally
from bench.sample import answer, commands
from commands.owner import Bounds, Owner, Ports
from commands.state_form import fingerprint
from infra.sqlite.connections import create, open_writer
from infra.sqlite.layout import packed
from infra.sqlite.log import SqliteLog
from infra.sqlite.state_store import SqliteStateStores
from schemas.command_envelope import CommandEnvelope
from schemas.wire import WireRecord, encode_command

SHARDS = 4
_AT_ONCE = 500


def measure(folder: Path, amounts: Amounts) -> tuple[list[Line], dict[str, Any]]:
    """The rows of the report and the single measurements."""
    raw: dict[str, Any] = {}
    for number in range(amounts.rounds):
        raw.setdefault("ours", []).append(asyncio.run(_ours(folder / f"ours-{number}", amounts)))
        raw.setdefault("bare", []).append(_bare(folder / f"bare-{number}", amounts))

    def of(kind: str, what: str) -> float:
        return median(each[what] for each in raw[kind])

    lines = [
        at_least(f"SQLite: {n} a transaction", of("ours", f"rate {n}"), of("bare", f"rate {n}"), "commands/s", 0.5)
        for n in (100, 500)
    ]
    for flight, said in ((1, "alone"), (64, "64 in flight")):
        p50, p99 = f"p50 {flight}", f"p99 {flight}"
        lines.append(at_most(f"SQLite: round trip {said}, p50", of("ours", p50), of("bare", p50), "ms", 2))
        lines.append(Line(f"SQLite: round trip {said}, p99", of("ours", p99), of("bare", p99), "ms"))
    return lines, raw


# --- ours -------------------------------------------------------------------------------------------------------------


async def _ours(folder: Path, amounts: Amounts) -> dict[str, float]:
    log = await SqliteLog.open(folder / "log", SHARDS)
    stores = SqliteStateStores(folder / "state", fingerprint("bench"))
    try:
        told: dict[str, float] = {}
        for batch in (100, 500):
            told |= await _our_throughput(log, stores, batch, amounts.commands)
        for flight, count in ((1, amounts.alone), (64, amounts.at_once)):
            told |= await _our_trips(log, stores, flight, count)
        return told
    finally:
        await stores.close()
        await log.close()


def _owner(log: SqliteLog, stores: SqliteStateStores, batch: int, tally: Tally) -> Owner:
    ports = Ports(
        log=Counted(log.owned_shards("bench"), tally, Readiness(0)),
        reader=log.reader,
        stores=stores,
        sleep=asyncio.sleep,
        monotonic=time.monotonic,
    )
    return Owner(ports, Bounds(batch=AHEAD * batch, transaction=batch))


async def _our_throughput(log: SqliteLog, stores: SqliteStateStores, batch: int, count: int) -> dict[str, float]:
    waiting = list(commands(count))
    for start in range(0, count, _AT_ONCE):
        await asyncio.gather(*(log.sender.send(each) for each in waiting[start : start + _AT_ONCE]))
    stop = asyncio.Event()
    tally = Tally(count, stop)
    await _owner(log, stores, batch, tally).run(stop)
    (began, cpu_began, first), (ended, cpu_ended, _) = tally.commits[0], tally.commits[-1]
    moved = tally.total - first
    return {f"rate {batch}": moved / (ended - began), f"cpu_us {batch}": (cpu_ended - cpu_began) / moved * 1e6}


async def _our_trips(log: SqliteLog, stores: SqliteStateStores, in_flight: int, count: int) -> dict[str, float]:
    stop = asyncio.Event()
    running = asyncio.create_task(_owner(log, stores, 500, Tally(0, stop)).run(stop))
    left = commands(count)
    taken: list[float] = []

    async def one_after_the_other() -> None:
        for command in left:
            began = time.perf_counter()
            await log.sender.send(command)
            if await log.outcomes.wait(command.command_id, 30) is None:
                raise TimeoutError("no outcome")
            taken.append(time.perf_counter() - began)

    await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))
    stop.set()
    await running
    return _percentiles(in_flight, taken)


def _percentiles(in_flight: int, taken: Sequence[float]) -> dict[str, float]:
    kept = taken[len(taken) // 10 :]
    return {f"p{part:.0f} {in_flight}": percentile(kept, part / 100) * 1e3 for part in (50, 99)}


# --- bare inserts -----------------------------------------------------------------------------------------------------


class _Bare:
    """The same tables, the same pragmas; a command is inserted, then its event and outcome."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._connection: sqlite3.Connection = open_writer(folder)
        create(self._connection, SHARDS)
        self._answer = answer()
        self._next = {"commands": 1 << 52, "events": 2 << 52, "outcomes": 3 << 52}
        self._consumed = self._next["commands"]

    def send(self, sent: Sequence[CommandEnvelope]) -> None:
        with _committed(self._connection):
            self._insert("commands", [encode_command(command) for command in sent])

    def answer(self, limit: int) -> int:
        """One transaction of the bare loop; how many commands it held."""
        read = "SELECT id, key, value, headers FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
        found = self._connection.execute(read, (self._consumed, 2 << 52, limit)).fetchall()
        if found:
            with _committed(self._connection):
                self._insert("events", [self._answer.event] * len(found))
                first = self._insert("outcomes", [self._answer.outcome] * len(found))
                ids = [(uuid4().bytes, first + n) for n in range(len(found))]
                self._connection.executemany("INSERT OR IGNORE INTO outcome_ids VALUES (?, ?)", ids)
                self._consumed = found[-1][0] + 1
                self._connection.execute("INSERT OR REPLACE INTO consumed VALUES (0, ?)", (self._consumed,))
        return len(found)

    def checkpoint(self) -> None:
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def close(self) -> None:
        self._connection.close()

    def _insert(self, what: str, records: Sequence[WireRecord]) -> int:
        first = self._next[what]
        self._next[what] = first + len(records)
        rows = [(first + n, record.key, record.value, packed(record.headers), 0) for n, record in enumerate(records)]
        self._connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)
        return first


class _committed:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_: object) -> None:
        self._connection.execute("COMMIT")


def _bare(folder: Path, amounts: Amounts) -> dict[str, float]:
    bare = _Bare(folder)
    told: dict[str, float] = {}
    for batch in (100, 500):
        waiting = list(commands(amounts.commands))
        for start in range(0, len(waiting), _AT_ONCE):
            bare.send(waiting[start : start + _AT_ONCE])
        bare.checkpoint()
        began, cpu, moved, size = time.perf_counter(), time.process_time(), 0, 0
        while count := bare.answer(batch):
            moved += count
            size += count
            if size >= 4_000:  # about as often as ours by its bytes
                bare.checkpoint()
                size = 0
        told[f"rate {batch}"] = moved / (time.perf_counter() - began)
        told[f"cpu_us {batch}"] = (time.process_time() - cpu) / moved * 1e6
    for flight, count in ((1, amounts.alone), (64, amounts.at_once)):
        told |= _bare_trips(bare, flight, count)
    bare.close()
    return told


def _bare_trips(bare: _Bare, in_flight: int, count: int) -> dict[str, float]:
    """A group shares its two transactions, as it would in ours."""
    taken: list[float] = []
    waiting = list(commands(count))
    for start in range(0, count, in_flight):
        group = waiting[start : start + in_flight]
        began = time.perf_counter()
        bare.send(group)
        bare.answer(in_flight)
        taken += [time.perf_counter() - began] * len(group)
    return _percentiles(in_flight, taken)

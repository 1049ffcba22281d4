"""Does a long history slow anything down? Many finished runs in the embedded log, beside a hundred.

The log is filled by driving the real owner in this process as an executor would: every run is requested, claimed, planned,
started and reported, on one target. Then, for both amounts: how long an owner takes from its snapshots until it may decide, what
it keeps in memory, how large the server grows and how long its lists take.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.figures import Line, at_most, median
from bench.server import CallFailed, Server, server
from commands.owner import Bounds, Owner, Ports
from commands.state_form import fingerprint
from domain.identity import run_id
from domain.run.messages import ClaimRun, PlannedTarget, PlanRun, ReportRun, RequestRun, StepEnd, StepStart
from domain.target import SshConnection
from infra.sqlite.log import SqliteLog
from infra.sqlite.state_store import SqliteStateStores
from infra.wiring.composition import EMBEDDED_SHARDS
from infra.wiring.version import VERSION
from schemas.actor import Actor, system
from schemas.command_envelope import CommandEnvelope
from schemas.outcome import Accepted
from schemas.payload import to_json

JOBS = 20
_FEW = 100
_AT_ONCE = 1000
_INSTANCE = "bench"
_EXECUTOR = "bench-executor"
_QUERIES = (
    "/runs?limit=50",
    "/runs?job=job-07&limit=50",
    "/runs/{run}",
    "/runs/{run}/steps",
    "/targets?limit=50",
    "/audit/events?stream=job/job-07",
)
_ASKED = 40
_MOST_ENTRIES = EMBEDDED_SHARDS * Bounds().cached_streams + Bounds().save_every_commands
_APPLIED_WITHIN_S = 3_600


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found with one amount of history. Times in seconds, memory in MB, queries' medians in ms."""

    runs: int
    commands_s: float
    restart_s: float
    replayed: int
    entries: int
    applied_s: float
    ready_s: float
    rss_mb: float
    queries: dict[str, float]


def measure(folder: Path, runs: int) -> tuple[list[Line], dict[str, Any]]:
    """The rows of the report (ours is the long history, the yardstick the short one) and the single measurements."""
    few, many = (_measured(folder / str(count), count) for count in (_FEW, runs))
    lines = [
        _bounded("an owner's restart from its snapshots", many.restart_s, few.restart_s, "s", 5),
        Line("what it replays then", many.replayed, few.replayed, "events"),
        _bounded("what it keeps in memory then", many.entries, few.entries, "entries", _MOST_ENTRIES),
        Line("server's start until ready", many.ready_s, few.ready_s, "s"),
        at_most("server's memory, lists read", many.rss_mb, few.rss_mb, "MB", 1.5),
        *(at_most(f"GET {query}", many.queries[query], few.queries[query], "ms", 2) for query in _QUERIES),
    ]
    return lines, {"few": _plain(few), "many": _plain(many)}


def _bounded(what: str, many: float, few: float, unit: str, bound: float) -> Line:
    return Line(what, many, few, unit, f"<= {bound:,} {unit}", many <= bound)


def _plain(measured: Measured) -> dict[str, Any]:
    return {name: getattr(measured, name) for name in Measured.__slots__}


def _measured(folder: Path, runs: int) -> Measured:
    home = folder / "home"
    with _server(home) as running:
        _define(running)
    began = time.perf_counter()
    last = asyncio.run(_filled(home, runs))
    filled = time.perf_counter() - began
    restart_s, replayed, entries = asyncio.run(_restarted(home))
    with _server(home) as running:
        applied = _applied(running, last)
    began = time.perf_counter()
    with _server(home) as running:
        ready = time.perf_counter() - began
        queries = {query: _asked(running, query.format(run=last)) for query in _QUERIES}
        rss = _rss_mb(running.pid)
    return Measured(runs, runs * 5 / filled, restart_s, replayed, entries, applied, ready, rss, queries)


def _server(home: Path) -> Any:
    return server(home, OPSCONDUCTOR_INSTANCE=_INSTANCE)


def _define(running: Server) -> None:
    secret = {"username": "nobody", "password": "not used here"}
    running.call("POST", "/api/v1/credentials", {"name": "bench", "kind": "password", "secret": secret})
    connection = {"kind": "ssh", "port": 22, "credential": "bench"}
    running.call("POST", "/api/v1/targets", {"name": "t-1", "host": "192.0.2.1", "labels": {"a": "b"}, "connection": connection})
    for number in range(JOBS):
        steps = [{"name": "say", "kind": "command", "run": "echo ok"}]
        running.call("POST", "/api/v1/jobs", {"name": f"job-{number:02}", "targets": "a=b", "steps": steps})


# --- filling ----------------------------------------------------------------------------------------------------------


def _owner(log: SqliteLog, stores: SqliteStateStores) -> Owner:
    shards = log.owned_shards(_INSTANCE)
    ports = Ports(log=shards, reader=log.reader, stores=stores, sleep=asyncio.sleep, monotonic=time.monotonic)
    return Owner(ports, Bounds())


def _stores(home: Path) -> SqliteStateStores:
    return SqliteStateStores(home / "state" / _INSTANCE, fingerprint(VERSION))


async def _filled(home: Path, runs: int) -> str:
    """Fill the log; the id of the last run."""
    log, stores = await SqliteLog.open(home / "log", EMBEDDED_SHARDS), _stores(home)
    stop = asyncio.Event()
    owning = asyncio.create_task(_owner(log, stores).run(stop))
    last = ""
    for start in range(0, runs, _AT_ONCE):
        jobs = [f"job-{number % JOBS:02}" for number in range(start, min(runs, start + _AT_ONCE))]
        ids = [run_id(job, uuid4()) for job in jobs]
        for said in _life(ids, jobs):
            await _decided(log, said)
        last = ids[-1]
    stop.set()
    await owning
    await stores.close()
    await log.close()
    return last


def _life(ids: Sequence[str], jobs: Sequence[str]) -> list[list[CommandEnvelope]]:
    """What is said to these runs, in five rounds."""
    target = PlannedTarget("t-1", 1, "192.0.2.1", {"a": "b"}, SshConnection("bench"))
    rounds: list[list[Any]] = [
        [RequestRun(job, 1, {}) for job in jobs],
        [ClaimRun(_EXECUTOR, 1)] * len(ids),
        [PlanRun(_EXECUTOR, 1, 1, 1, (target,))] * len(ids),
        [ReportRun(_EXECUTOR, 1, (StepStart("say", "t-1", 1),))] * len(ids),
        [ReportRun(_EXECUTOR, 1, (StepEnd("say", "t-1", 1, "succeeded", 0),))] * len(ids),
    ]
    return [[_enveloped(run, payload) for run, payload in zip(ids, said, strict=True)] for said in rounds]


def _enveloped(run: str, payload: Any) -> CommandEnvelope:
    raw = to_json(payload)
    return CommandEnvelope(
        command_id=uuid4(),
        type=type(payload).__name__,
        stream=f"run/{run}",
        payload=raw,
        actor=Actor("user", "admin") if isinstance(payload, RequestRun) else system("executor"),
        correlation_id=run[-36:],
        time=datetime.now(UTC),
        fingerprint=hashlib.sha256(raw).hexdigest(),
    )


async def _decided(log: SqliteLog, said: Sequence[CommandEnvelope]) -> None:
    await asyncio.gather(*(log.sender.send(command) for command in said))
    for outcome in await asyncio.gather(*(log.outcomes.wait(command.command_id, 60) for command in said)):
        if outcome is None or not isinstance(outcome.result, Accepted):
            raise CallFailed(f"not accepted: {outcome}")


# --- measuring --------------------------------------------------------------------------------------------------------


async def _restarted(home: Path) -> tuple[float, int, int]:
    """Seconds until every shard may be decided for, events replayed meanwhile, entries in memory."""
    log, stores = await SqliteLog.open(home / "log", EMBEDDED_SHARDS), _stores(home)
    stop = asyncio.Event()
    began = time.perf_counter()
    owner = _owner(log, stores)
    owning = asyncio.create_task(owner.run(stop))
    while len(owner.tenures) < EMBEDDED_SHARDS:
        await asyncio.sleep(0.005)
    took, replayed, entries = time.perf_counter() - began, owner.counters.replayed_events, owner.entries
    stop.set()
    await owning
    await stores.close()
    await log.close()
    return took, replayed, entries


def _applied(running: Server, last: str) -> float:
    """How long the read models took to come to the end of the history."""
    began = time.perf_counter()
    while time.perf_counter() - began < _APPLIED_WITHIN_S:
        read = running.call("GET", f"/api/v1/runs/{last}", expected=(200, 404, 503))
        if read.get("finished_at"):
            return time.perf_counter() - began
        time.sleep(0.5)
    raise CallFailed("the read models did not come to the end")


def _asked(running: Server, query: str) -> float:
    took = []
    for _ in range(_ASKED):
        began = time.perf_counter()
        running.call("GET", f"/api/v1{query}")
        took.append((time.perf_counter() - began) * 1e3)
    return median(took)


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024

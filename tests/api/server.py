"""The whole API in one process: a real owner on the memory log, real projections on SQLite, a real vault."""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2
from argon2 import PasswordHasher
from uuid_utils.compat import uuid7

from api.app import create_app
from api.first_start import FirstStart, make_first_administrator
from api.kept_keys import load_keys
from api.ports import ApiDependencies, ApiSettings
from api.rate_limit import Buckets, Kind
from api.sign_in_limit import SignInLimit
from api.signing_keys import load_signing_keys
from api.tokens import Tokens
from commands.owner import Owner
from domain.run.messages import ClaimRun, PlanRun, ReportRun
from infra.memory.log import MemoryLog
from infra.memory.sessions import MemorySessions
from infra.memory.sign_in_attempts import MemoryAttempts
from infra.memory.state_store import MemoryStateStores
from infra.memory.wakeups import MemoryWakeups
from infra.sql.engine import create_all, open_engine, open_reader
from infra.sql.read_store import SqlReadStore
from infra.vaults.key_ring import KeyRing
from infra.vaults.sql_vault import SqlVault
from projections.follow import Follower
from projections.rebuild import ask_for_rebuild
from schemas.actor import Actor, system
from schemas.command_envelope import CommandEnvelope
from schemas.outcome import Accepted
from schemas.partitioning import shard_of
from schemas.payload import to_json
from schemas.position import Partition
from schemas.run_output import OutputChunk
from schemas.topics import RUN_OUTPUT
from schemas.topics import TABLE as TOPICS
from tests.commands.owning import running

PASSWORD = "correct-horse-battery"
SHARDS = 3
RATES: dict[Kind, int] = {"account_reads": 30_000, "account_writes": 6_000, "address_reads": 1_200, "address_writes": 300}


class Clock:
    """The real time, moved by hand where a test wants so."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self._furthest = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def seconds(self) -> float:
        return time.monotonic() + self.ahead.total_seconds()

    def monotonic(self) -> float:
        """Never goes back, as no monotonic clock does, when the time of day is put back."""
        self._furthest = max(self._furthest, self.seconds())
        return self._furthest


class Ids:
    def new_id(self) -> uuid.UUID:
        return uuid7()

    def random_bytes(self, count: int) -> bytes:
        return os.urandom(count)


@dataclass
class Server:
    """What a test talks to."""

    app: Any
    given: ApiDependencies
    log: MemoryLog
    clock: Clock
    http: httpx2.AsyncClient
    database: Path
    follower: asyncio.Task[None]
    """Keeps the read models up to date; cancelled, they stand still."""
    token: str = ""
    answers: list[bytes] = field(default_factory=list)

    async def send(self, method: str, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        """One request below /api/v1 (or a root path), signed in."""
        root = path.startswith(("/health", "/metrics", "/openapi", "/.well-known"))
        headers = {**({"Authorization": f"Bearer {self.token}"} if self.token else {}), **more.pop("headers", {})}
        if body is not None:
            more["json"] = body
        answer = await self.http.request(method, path if root else f"/api/v1{path}", headers=headers, **more)
        self.answers.append(answer.content + repr(answer.headers).encode())
        return answer

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        return await self.send("GET", path, **more)

    async def post(self, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        return await self.send("POST", path, body, **more)

    async def sign_in(self, name: str = "admin", password: str = PASSWORD) -> httpx2.Response:
        form = {"grant_type": "password", "username": name, "password": password}
        answer = await self.post("/auth/token", data=form)
        if answer.status_code == 200:
            self.token = answer.json()["access_token"]
        return answer

    async def raw(self, method: str, path: str, chunks: list[bytes], headers: dict[str, str]) -> tuple[int, bytes, int]:
        """A request whose body comes in pieces: the answer's status and body, and how many pieces were taken."""
        taken, status, body = 0, 0, b""

        async def receive() -> dict[str, Any]:
            nonlocal taken
            taken += 1
            if taken > len(chunks):
                await asyncio.Event().wait()
            return {"type": "http.request", "body": chunks[taken - 1], "more_body": taken < len(chunks)}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status, body
            status = message.get("status", status)
            body += message.get("body", b"")

        await self.app(scope_of(method, path, headers), receive, send)
        return status, body, taken

    def everything_stored(self) -> bytes:
        """All that stands in the log and in the database's files, the vault's table included."""
        partitions = [Partition(topic.name, shard) for topic in TOPICS for shard in range(SHARDS)]
        records = [list(self.log.storage.committed(partition, 0)) for partition in partitions]
        return repr(records).encode() + b"".join(path.read_bytes() for path in self.database.parent.iterdir())


def scope_of(method: str, path: str, headers: dict[str, str], query: str = "") -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }


def cheaply_hashed(password: str, salt: bytes) -> bytes:
    """As the real ones, with the least cost: each test makes an administrator and signs in. Those whom a test makes cost all."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password, salt=salt).encode()


@asynccontextmanager
async def serving(folder: Path, url: str = "", rates: dict[Kind, int] | None = None, **settings: Any) -> AsyncIterator[Server]:
    """A server with its first administrator, signed in; its read models are on SQLite unless `url` says otherwise."""
    log, clock, ids, wakeups = MemoryLog(SHARDS), Clock(), Ids(), MemoryWakeups()
    database = folder / "models" / "read.db"
    database.parent.mkdir(parents=True)
    url = url or f"sqlite:///{database}"
    writer, reader = open_engine(url), open_reader(url)
    create_all(writer)
    master = os.urandom(32)
    vault, store = SqlVault(writer, reader, KeyRing(lambda: {1: master})), SqlReadStore(writer)
    vault.create_tables()
    keys = await load_keys(vault, ids, None)
    threads = ThreadPoolExecutor(4)
    owners: list[Owner] = []
    given = ApiDependencies(
        sender=log.sender,
        outcomes=log.outcomes,
        reader=log.reader,
        engine=reader,
        vault=vault,
        sessions=MemorySessions(clock.seconds),
        sign_in_limit=SignInLimit(MemoryAttempts(clock.seconds)),
        limits=Buckets(RATES | (rates or {}), clock.monotonic),
        wakeups=wakeups,
        clock=clock,
        ids=ids,
        keys=keys,
        tokens=Tokens(*await load_signing_keys(vault, ids)),
        threads=threads,
        rebuild=lambda name: store.transact(partial(ask_for_rebuild, name=name)),
        unserved=lambda: [one for owner in owners for one in owner.unserved],
        settings=ApiSettings(**{"outcome_wait_s": 60.0, "freshness_wait_s": 60.0, "poll_s": 0.05, **settings}),
    )
    follower = asyncio.create_task(Follower(log.reader, store, wakeups).run())
    app = create_app(given)
    transport = httpx2.ASGITransport(app=app)
    try:
        async with (
            running(log, MemoryStateStores()) as owner,
            httpx2.AsyncClient(transport=transport, base_url="http://test") as http,
        ):
            owners.append(owner)
            with mock.patch("api.first_start.hashed", cheaply_hashed):
                assert await make_first_administrator(first_start(given), "admin", PASSWORD)
            server = Server(app, given, log, clock, http, database, follower)
            assert (await server.sign_in()).status_code == 200, "at once, however far the read models are"
            yield server
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
        await store.close()
        await vault.close()
        threads.shutdown(wait=True)
        writer.dispose()
        reader.dispose()


def first_start(given: ApiDependencies) -> FirstStart:
    return FirstStart(
        sender=given.sender,
        outcomes=given.outcomes,
        reader=given.reader,
        vault=given.vault,
        randomness=given.ids,
        now=given.clock.now,
        key=given.keys.fingerprints,
    )


# --- what an executor would do --------------------------------------------------------------------------------------


async def told(server: Server, stream: str, command: Any, actor: Actor | None = None) -> None:
    """One command from the executor, unless said, accepted."""
    envelope = CommandEnvelope(
        command_id=uuid.uuid4(),
        type=type(command).__name__,
        stream=stream,
        payload=to_json(command),
        actor=actor or system("executor"),
        correlation_id="executor",
        time=server.clock.now(),
        fingerprint=uuid.uuid4().hex,
    )
    await server.log.sender.send(envelope)
    outcome = await server.log.outcomes.wait(envelope.command_id, 60)
    assert outcome is not None and isinstance(outcome.result, Accepted), outcome


async def claimed_and_planned(server: Server, run: str, targets: tuple[Any, ...]) -> None:
    await told(server, f"run/{run}", ClaimRun("executor-1", 1))
    await told(server, f"run/{run}", PlanRun("executor-1", 1, 1, 1, targets))


async def reported(server: Server, run: str, *entries: Any) -> None:
    await told(server, f"run/{run}", ReportRun("executor-1", 1, entries))


async def wrote(server: Server, run: str, *texts: str, target: str = "web-01", begin: int = 1) -> int:
    """Pieces of standard output; the offset after the last."""
    chunks = [
        OutputChunk(
            run=run,
            target=target,
            step="only",
            step_index=0,
            attempt=1,
            stream="stdout",
            sequence=begin + n,
            time=server.clock.now(),
            text=text,
        )
        for n, text in enumerate(texts)
    ]
    return await server.log.records.publish(Partition(RUN_OUTPUT, shard_of(f"run/{run}", SHARDS)), chunks)

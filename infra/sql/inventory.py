"""What do the read models say to the executor and the sweeper? Each call is one statement, so it sees one snapshot."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, Text, bindparam, cast, false, func, select
from sqlalchemy.exc import SQLAlchemyError

from domain.job.definition import JobDefinition
from domain.run.messages import PlannedTarget
from domain.run.state import FINAL
from domain.selector import Selector, matches
from domain.target import SshConnection
from processors.executor.inventory import CredentialEntry, InventoryUnavailable, UnfinishedRun
from projections import tables
from schemas.actor import Actor
from schemas.event_envelope import EventEnvelope, RecordedEvent
from schemas.payload import adapter
from schemas.position import Position

THREADS = 4

_UNFINISHED = (
    select(tables.runs.c.id, tables.runs.c.version, tables.runs.c.executor, tables.runs.c.epoch)
    .where(tables.runs.c.state.not_in(FINAL))
    .order_by(tables.runs.c.requested_at, tables.runs.c.id)
)
_FINAL_AMONG = select(func.count().label("final")).where(
    tables.runs.c.id.in_(bindparam("runs", expanding=True)), tables.runs.c.state.in_(FINAL)
)
_OPEN_CHECKS = select(tables.targets.c.name, tables.targets.c.open_checks).where(cast(tables.targets.c.open_checks, Text) != "[]")
_targets, _credentials, _revisions = tables.targets.c, tables.credentials.c, tables.job_revisions.c
_TARGETS = select(_targets.name, _targets.version, _targets.host, _targets.labels, _targets.connection).where(
    _targets.retired == false()
)
_TARGET = _TARGETS.where(_targets.name == bindparam("of"))
_CREDENTIAL = select(_credentials.kind, _credentials.revision, _credentials.secret).where(
    _credentials.name == bindparam("of"), _credentials.revoked == false()
)
_JOB = select(_revisions.definition).where(_revisions.job == bindparam("of"), _revisions.revision == bindparam("in_revision"))
_HISTORY = select(tables.events).where(tables.events.c.stream == bindparam("of")).order_by(tables.events.c.version)
"""Asked all the time, and made once: making a statement takes longer than answering it."""


class SqlInventory:
    """Implements `processors.executor.inventory.Inventory` on the read models behind `engine`; queries run in a few threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="inventory")

    async def targets(self, selector: Selector) -> Sequence[PlannedTarget]:
        """All targets in service that match, sorted by name. Labels and version come from one row: they cannot disagree."""
        rows = await self._rows(_TARGETS)
        found = [_target(row) for row in rows if matches(selector, row["name"], row["labels"])]
        return sorted(found, key=lambda target: target.name)

    async def target(self, name: str) -> PlannedTarget | None:
        """One target in service, as it is now."""
        rows = await self._rows(_TARGET, {"of": name})
        return _target(rows[0]) if rows else None

    async def credential(self, name: str) -> CredentialEntry | None:
        """A credential that is not revoked."""
        rows = await self._rows(_CREDENTIAL, {"of": name})
        return CredentialEntry(name, rows[0]["kind"], rows[0]["revision"], rows[0]["secret"]) if rows else None

    async def job(self, name: str, revision: int) -> JobDefinition | None:
        """One revision of a job."""
        rows = await self._rows(_JOB, {"of": name, "in_revision": revision})
        return adapter(JobDefinition).validate_python(rows[0]["definition"]) if rows else None

    async def unfinished_runs(self) -> Sequence[UnfinishedRun]:
        """Every run that is not final, oldest first."""
        rows = await self._rows(_UNFINISHED)
        return [UnfinishedRun(row["id"], row["version"], row["executor"], row["epoch"]) for row in rows]

    async def history(self, stream: str) -> Sequence[RecordedEvent]:
        """All events of one stream that have been projected, in order, up to the first that is missing."""
        rows = await self._rows(_HISTORY, {"of": stream})
        return [_event(row) for number, row in enumerate(rows, 1) if row["version"] == number]

    async def are_final(self, runs: Sequence[str]) -> bool:
        """Whether every one of these runs is final."""
        wanted = sorted(set(runs))
        return bool((await self._rows(_FINAL_AMONG, {"runs": wanted}))[0]["final"] == len(wanted))

    async def open_checks(self) -> Sequence[tuple[str, str]]:
        """(target, check id) of every target check that was requested and has no result."""
        rows = await self._rows(_OPEN_CHECKS)
        return [(row["name"], check) for row in rows for check in row["open_checks"]]

    def close(self) -> None:
        """Let the threads end; the engine belongs to whoever opened it."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _rows(self, query: Any, values: Mapping[str, Any] | None = None) -> Sequence[Mapping[str, Any]]:
        def in_thread() -> Sequence[Mapping[str, Any]]:
            with self._engine.connect() as connection:
                return [dict(row) for row in connection.execute(query, values).mappings()]

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, in_thread)
        except SQLAlchemyError as error:
            raise InventoryUnavailable(type(error).__name__) from error


def _target(row: Mapping[str, Any]) -> PlannedTarget:
    connection = adapter(SshConnection).validate_python(row["connection"])
    return PlannedTarget(row["name"], row["version"], row["host"], row["labels"], connection)


def _event(row: Mapping[str, Any]) -> RecordedEvent:
    behalf = Actor(row["behalf_kind"], row["behalf_name"]) if row["behalf_kind"] else None
    envelope = EventEnvelope(
        event_id=UUID(row["event_id"]),
        type=row["type"],
        schema_version=row["schema_version"],
        stream=row["stream"],
        version=row["version"],
        payload=row["payload"].encode(),
        actor=Actor(row["actor_kind"], row["actor_name"]),
        time=datetime.fromisoformat(row["time"]),
        command_id=UUID(row["command_id"]),
        correlation_id=row["correlation_id"],
        on_behalf_of=behalf,
        causation_id=UUID(row["causation_id"]) if row["causation_id"] else None,
        traceparent=row["traceparent"],
        previous_hash=row["previous_hash"],
        hash=row["hash"],
    )
    return RecordedEvent(envelope, Position(row["topic"], row["shard"], row["offset"]))

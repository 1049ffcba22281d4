"""What stands in the tables, as a reader sees it; and a follower that runs while a test looks on."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, select

from infra.memory.log import MemoryLog
from infra.sql.read_store import SqlReadStore
from projections import tables
from projections.all import BY_NAME, TABLE
from projections.follow import Follower
from projections.position import ProjectionStatus, has_reached, status
from projections.projection import Projection
from projections.read_store import ReadStore
from schemas.position import Partition
from tests.support.eventually import eventually_async

BY_POSITION = {"offset", "hash", "previous_hash"}
"""Columns that say where a record stands in the log, not what happened."""


@dataclass
class Database:
    url: str
    writer: Engine
    reader: Engine

    def rows(self, leave_out: Iterable[str] = ()) -> dict[str, list[dict[str, Any]]]:
        """Every row of every read model, in key order."""
        out = set(leave_out)
        with self.reader.connect() as connection:
            return {
                table.name: [
                    {name: value for name, value in row.items() if name not in out}
                    for row in connection.execute(select(table).order_by(*table.primary_key.columns)).mappings()
                ]
                for table in tables.metadata.sorted_tables
            }

    def status(self, log: MemoryLog) -> dict[str, ProjectionStatus]:
        with self.reader.connect() as connection:
            found = status(connection, ends(log), datetime.now(UTC))
        return {projection.name: projection for projection in found}

    def reached(self, log: MemoryLog, names: Iterable[str] = BY_NAME) -> bool:
        with self.reader.connect() as connection:
            return all(has_reached(connection, name, ends(log)) for name in names)

    def wipe(self) -> None:
        """As if nothing had ever been projected."""
        with self.writer.begin() as connection:
            for table in [*tables.metadata.sorted_tables, *tables.bookkeeping.sorted_tables]:
                connection.execute(table.delete())


class Heard:
    """Wake-ups, remembered."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    async def wake(self, topics: Iterable[str]) -> None:
        self.topics += topics

    def listen(self, topic: str) -> Any:
        raise AssertionError("the follower listens to nobody")


def ends(log: MemoryLog) -> dict[Partition, int]:
    topics = {topic for projection in TABLE for topic in projection.topics}
    of = [Partition(topic, shard) for topic in topics for shard in range(log.shards)]
    return {partition: log.storage.end(partition) for partition in of}


@asynccontextmanager
async def following(
    log: MemoryLog, database: Database, projections: tuple[Projection, ...] = TABLE, store: ReadStore | None = None
) -> AsyncIterator[Follower]:
    """A follower at work on `database`, stopped at the end."""
    used = store or SqlReadStore(database.writer)
    follower = Follower(log.reader, used, Heard(), projections)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await used.close()


async def project(log: MemoryLog, database: Database, names: Iterable[str] = BY_NAME) -> None:
    """Bring the read models to the log's end, then stop."""
    wanted = list(names)
    async with following(log, database):
        await eventually_async(lambda: _reached(log, database, wanted), within=60, every=0.005)


async def _reached(log: MemoryLog, database: Database, names: list[str]) -> bool:
    return database.reached(log, names)


async def run_follower(log: MemoryLog, database: Database, store: ReadStore | None = None) -> None:
    """A follower until it ends by itself."""
    used = store or SqlReadStore(database.writer)
    try:
        async with asyncio.timeout(60):
            await Follower(log.reader, used, Heard()).run()
    finally:
        await used.close()

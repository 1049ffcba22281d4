"""Can the API tell how far a read model is?"""

import asyncio
from dataclasses import replace
from functools import partial
from random import Random
from uuid import UUID

import pytest
from sqlalchemy.exc import DBAPIError

from infra.memory.log import MemoryLog
from infra.memory.storage import Fate
from infra.sql.read_store import SqlReadStore
from projections.follow import Follower
from projections.position import has_reached, version_applied
from schemas.position import Partition
from schemas.wakeups import RECENT_CHANGES, RECENT_EVENTS
from schemas.wire import encode
from tests.projections.histories import History, Writer, random_history
from tests.projections.tables_seen import Database, Heard, following, project
from tests.support.eventually import eventually_async


@pytest.fixture
def history() -> History:
    return random_history(Random(1), 20)


async def test_a_version_counts_as_applied_once_its_projection_has_passed_it(history: History, database: Database) -> None:
    log = MemoryLog(2)
    Writer(log).write(history.interleaved(Random(1)))
    last = len(history.streams["target/web-01"])
    with database.reader.connect() as connection:
        assert not version_applied(connection, "targets", "target/web-01", 1, 2)
    await project(log, database)
    with database.reader.connect() as connection:
        assert version_applied(connection, "targets", "target/web-01", 1, 2)
        assert version_applied(connection, "targets", "target/web-01", last, 2)
        assert not version_applied(connection, "targets", "target/web-01", last + 1, 2)
        assert not version_applied(connection, "targets", "target/unknown", 1, 2)
        assert not version_applied(connection, "users", "target/web-01", 1, 2), "users does not read targets"


async def test_reached_asks_only_for_partitions_that_the_projection_reads(history: History, database: Database) -> None:
    log = MemoryLog(1)
    Writer(log).write(history.interleaved(Random(1)))
    end = log.storage.end(Partition("targets", 0))
    await project(log, database)
    with database.reader.connect() as connection:
        assert has_reached(connection, "targets", {Partition("targets", 0): end, Partition("runs", 0): 10**9})
        assert not has_reached(connection, "targets", {Partition("targets", 0): end + 1})
        assert not has_reached(connection, "targets", {Partition("targets", 7): 1})


async def test_positions_pass_what_an_aborted_transaction_left_behind(history: History, database: Database) -> None:
    log = MemoryLog(1)
    Writer(log).write(history.interleaved(Random(1)))
    never = replace(history.streams["target/web-01"][-1], version=99)
    aborted = log.storage.begin("owner")
    log.storage.append(Partition("targets", 0), encode(never), aborted)
    log.decide(aborted, Fate.ABORTED)
    await project(log, database)
    assert {s.lag_events for s in database.status(log).values()} == {0}


async def test_status_says_how_far_behind_a_projection_is(history: History, database: Database) -> None:
    log = MemoryLog(1)
    writer = Writer(log)
    writer.write(history.interleaved(Random(1)))
    await project(log, database)
    last = history.streams["user/admin"][-1]
    writer.write([replace(last, version=last.version + 1, event_id=UUID(int=1))])
    status = database.status(log)
    assert (status["users"].lag_events, status["events"].lag_events, status["runs"].lag_events) == (1, 1, 0)
    assert status["users"].lag_seconds > 0 and status["runs"].lag_seconds == 0


async def test_readers_are_told_after_the_commit_which_streams_changed(database: Database) -> None:
    history = random_history(Random(1), 200)
    assert history.output
    log, heard = MemoryLog(1), Heard()
    writer = Writer(log)
    store = SqlReadStore(database.writer)
    follower = asyncio.create_task(Follower(log.reader, store, heard).run())
    writer.write_output(history.output)

    async def output_told() -> bool:
        return RECENT_CHANGES in heard.topics

    await eventually_async(output_told)
    assert RECENT_EVENTS not in heard.topics, "who follows events need not look for output"
    writer.write(history.interleaved(Random(1)))

    async def told() -> bool:
        return set(heard.topics) == {*history.streams, RECENT_EVENTS, RECENT_CHANGES}

    await eventually_async(told)
    assert database.reached(log)
    follower.cancel()
    await asyncio.wait([follower])
    await store.close()


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(DBAPIError), database.reader.begin() as connection:
        connection.exec_driver_sql("DELETE FROM users")


async def test_nothing_is_ready_before_it_has_begun(database: Database) -> None:
    log = MemoryLog(1)
    store = SqlReadStore(database.writer)
    assert Follower(log.reader, store, Heard()).trouble is not None
    await store.close()
    async with following(log, database) as follower:
        await eventually_async(partial(is_well, follower))


async def is_well(follower: Follower) -> bool:
    return follower.trouble is None

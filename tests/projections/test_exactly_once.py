"""Do rows and positions agree, whenever the process dies or the database is cut off? (Guarantee 6.)"""

from functools import partial
from random import Random

import pytest
from sqlalchemy import func, select, text

from infra.memory.log import MemoryLog
from projections import follow
from projections.all import BY_NAME
from projections.tables import events, job_results, projection_positions
from tests.projections.breaking import DyingStore, FlakyStore, Killed
from tests.projections.histories import Writer, random_history
from tests.projections.tables_seen import Database, following, project, run_follower
from tests.support.eventually import eventually_async


@pytest.fixture
def log() -> MemoryLog:
    history, log = random_history(Random(0), 400), MemoryLog(2)
    writer = Writer(log)
    writer.write(history.interleaved(Random(8)))
    writer.write_output(history.output)
    return log


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "BATCH", 20)
    monkeypatch.setattr(follow, "_LOOK_FOR_WISHES_S", 0.0)  # so that an idle follower comes to its last statement soon, too
    monkeypatch.setattr(follow, "_IDLE_WAIT_S", 0.001)


async def expected(log: MemoryLog, database: Database) -> dict:
    await project(log, database)
    rows = database.rows()
    assert all(rows.values())
    database.wipe()
    return rows


def assert_rows_and_positions_agree(log: MemoryLog, database: Database) -> None:
    with database.reader.connect() as connection:
        for row in connection.execute(select(projection_positions).where(projection_positions.c.projection == "events")):
            here = (events.c.topic == row.topic) & (events.c.shard == row.shard)
            counted = connection.execute(select(func.count()).where(here)).scalar()
            assert counted == row.next_offset, "the memory log's offsets are dense here: one row an offset"
        finished = connection.execute(select(func.count()).where(events.c.type == "RunFinished")).scalar()
        assert (connection.execute(select(func.sum(job_results.c.runs))).scalar() or 0) == finished


async def test_killed_between_statements_anywhere_no_row_is_lost_or_doubled(log: MemoryLog, database: Database) -> None:
    wanted = await expected(log, database)
    deaths = 0
    for statement in range(1, 400, 13):
        with pytest.raises(Killed):
            await run_follower(log, database, DyingStore(database.writer, statement=statement))
        deaths += 1
        assert_rows_and_positions_agree(log, database)
        if database.reached(log):
            break
    assert deaths > 5
    await project(log, database)
    assert database.rows() == wanted


async def test_killed_after_each_commit_no_row_is_lost_or_doubled(log: MemoryLog, database: Database) -> None:
    wanted = await expected(log, database)
    for commit in range(1, 8):
        with pytest.raises(Killed):
            await run_follower(log, database, DyingStore(database.writer, commit=commit))
        assert_rows_and_positions_agree(log, database)
    await project(log, database)
    assert database.rows() == wanted


async def test_a_commit_whose_answer_was_lost_is_not_made_twice(log: MemoryLog, database: Database) -> None:
    wanted = await expected(log, database)
    async with following(log, database, store=FlakyStore(database.writer)):
        await eventually_async(lambda: at_end(log, database))
    assert database.rows() == wanted


async def test_while_the_database_is_down_the_follower_says_so_and_it_goes_on_by_itself(
    log: MemoryLog, database: Database
) -> None:
    wanted = await expected(log, database)
    store = FlakyStore(database.writer)
    store.down = True
    async with following(log, database, store=store) as follower:
        await eventually_async(lambda: said(follower, "cut off before"))
        store.down = False
        await eventually_async(lambda: at_end(log, database))
        await eventually_async(lambda: all_well(follower))
    assert database.rows() == wanted


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
async def test_connections_that_the_server_ends_again_and_again_do_no_harm(log: MemoryLog, database: Database) -> None:
    wanted = await expected(log, database)
    ended = 0
    async with following(log, database):
        while not database.reached(log):
            with database.reader.connect() as connection:
                mine = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
                ended += connection.execute(text(mine + "AND pid <> pg_backend_pid()")).scalar() or 0
            await eventually_async(partial(moved_or_at_end, log, database, positions(database)))
    assert ended > 0
    assert database.rows() == wanted


def positions(database: Database) -> int:
    with database.reader.connect() as connection:
        return connection.execute(select(func.sum(projection_positions.c.next_offset))).scalar() or 0


async def moved_or_at_end(log: MemoryLog, database: Database, before: int) -> bool:
    return positions(database) != before or database.reached(log)


async def at_end(log: MemoryLog, database: Database) -> bool:
    return database.reached(log)


async def said(follower: follow.Follower, words: str) -> bool:
    return words in (follower.trouble or "")


async def all_well(follower: follow.Follower) -> bool:
    return follower.trouble is None


async def test_two_followers_on_one_database_do_the_work_once(log: MemoryLog, database: Database) -> None:
    wanted = await expected(log, database)
    async with following(log, database), following(log, database):
        await eventually_async(lambda: at_end(log, database))
    assert database.rows() == wanted
    assert set(database.status(log)) == set(BY_NAME)

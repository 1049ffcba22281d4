"""Can a read model be built anew while it serves? (HAZARDS case 41.)"""

import asyncio
from dataclasses import replace
from functools import partial
from random import Random

import pytest
from sqlalchemy import MetaData, func, select

from infra.memory.log import MemoryLog
from projections import catch_up, follow
from projections.all import TABLE
from projections.rebuild import ask_for_rebuild
from projections.tables import events, job_revisions, jobs, target_labels, targets
from tests.projections.breaking import DyingStore, FlakyStore, Killed
from tests.projections.histories import History, Writer, random_history
from tests.projections.tables_seen import Database, following, project, run_follower
from tests.support.eventually import eventually_async

NAMES = [projection.name for projection in TABLE]


@pytest.fixture
def history() -> History:
    return random_history(Random(0), 400)


@pytest.fixture
def log(history: History) -> MemoryLog:
    log = MemoryLog(2)
    writer = Writer(log)
    writer.write(history.interleaved(Random(8)))
    writer.write_output(history.output)
    return log


def ask_for_all(database: Database) -> None:
    with database.writer.begin() as connection:
        for name in NAMES:
            assert ask_for_rebuild(connection, name)


async def all_in_generation(database: Database, log: MemoryLog, generation: int) -> None:
    async def check() -> bool:
        found = database.status(log)
        at_it = {name for name, s in found.items() if (s.generation, s.state, s.rebuild_done) == (generation, "live", None)}
        return at_it == set(NAMES)

    await eventually_async(check, within=60)


async def test_what_is_rebuilt_equals_what_was_there_again_and_again(log: MemoryLog, database: Database) -> None:
    await project(log, database)
    wanted = database.rows()
    async with following(log, database):
        for generation in (2, 3):
            ask_for_all(database)
            await all_in_generation(database, log, generation)
            assert database.rows() == wanted
    with database.reader.connect() as connection:
        seen = MetaData()
        seen.reflect(connection)
    assert not [name for name in seen.tables if "__" in name]
    wanted_indexes = {index.name for table in (targets, jobs, events) for index in table.indexes}
    found_indexes = {index.name for name in ("targets", "jobs", "events") for index in seen.tables[name].indexes}
    assert found_indexes == {f"{name}__g3" for name in wanted_indexes}


async def test_readers_and_writers_go_on_while_everything_is_rebuilt(
    log: MemoryLog, history: History, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers never see an error, a missing row or an older state; events written meanwhile are in both generations."""
    monkeypatch.setattr(catch_up, "_BATCH", 100)
    await project(log, database)
    ended = asyncio.Event()
    reads = 0

    def read_once(least: int) -> int:
        with database.reader.connect() as connection:
            seen = connection.execute(select(func.count()).select_from(events)).scalar() or 0
            labelled = select(func.count()).select_from(targets.join(target_labels, targets.c.name == target_labels.c.target))
            assert connection.execute(labelled).scalar()
            revised = select(func.count()).select_from(job_revisions.join(jobs, jobs.c.name == job_revisions.c.job))
            assert connection.execute(revised).scalar()
        assert seen >= least, "rows disappeared"
        return seen

    async def read() -> None:
        nonlocal reads
        seen = 0
        while not ended.is_set():
            seen = await asyncio.to_thread(read_once, seen)
            reads += 1

    async def write() -> int:
        writer = Writer(log)
        number = 0
        while not ended.is_set():
            number += 1
            more = random_history(Random(number), 0)
            fresh = [replace(event, stream=f"{event.stream}-{number}") for event in more.interleaved(Random(number))]
            by_partition = {writer.partition(event.stream) for event in fresh}
            for partition in by_partition - writer.last.keys():
                writer.last[partition] = last_hash(database, partition)
            writer.write(fresh)
            await asyncio.sleep(0.1)  # whoever writes faster than a busy machine projects is never caught up with
        return number

    async with following(log, database):
        tasks = [asyncio.create_task(read()), asyncio.create_task(read()), asyncio.create_task(write())]
        ask_for_all(database)
        await all_in_generation(database, log, 2)
        ended.set()
        written = (await asyncio.gather(*tasks))[2]
        await eventually_async(partial(at_end, log, database))
    assert reads > 20 and written > 3
    rows = database.rows()
    database.wipe()
    await project(log, database)
    assert database.rows() == rows


def last_hash(database: Database, partition: tuple) -> str:
    topic, shard = partition
    with database.reader.connect() as connection:
        here = select(events.c.hash).where(events.c.topic == topic, events.c.shard == shard)
        return connection.execute(here.order_by(events.c.offset.desc()).limit(1)).scalar() or "0" * 64


async def at_end(log: MemoryLog, database: Database) -> bool:
    return database.reached(log)


async def test_a_rebuild_that_is_killed_anywhere_leaves_the_old_tables_serving_and_ends_after_a_restart(
    log: MemoryLog, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catch_up, "_BATCH", 30)
    monkeypatch.setattr(follow, "_LOOK_FOR_WISHES_S", 0.0)
    await project(log, database)
    wanted = database.rows()
    with database.writer.begin() as connection:
        ask_for_rebuild(connection, "run_steps")
        ask_for_rebuild(connection, "targets")
    deaths = 0
    for statement in range(30, 1000, 11):
        if all(database.status(log)[name].generation == 2 for name in ("run_steps", "targets")):
            break
        with pytest.raises(Killed):
            await run_follower(log, database, DyingStore(database.writer, statement=statement))
        deaths += 1
        assert database.rows() == wanted
    assert deaths > 5
    assert all(database.status(log)[name].generation == 2 for name in ("run_steps", "targets"))


async def test_a_swap_whose_answer_was_lost_is_not_made_twice(log: MemoryLog, database: Database) -> None:
    await project(log, database)
    wanted = database.rows()
    async with following(log, database, store=FlakyStore(database.writer)):
        ask_for_all(database)

        async def rebuilt() -> bool:
            found = database.status(log).values()
            return all(s.generation > 1 and s.state == "live" and s.rebuild_done is None for s in found)

        await eventually_async(rebuilt, within=60)
    assert database.rows() == wanted


async def test_changed_code_is_rebuilt_by_itself_and_goes_on_from_there(history: History, database: Database) -> None:
    ordered = history.interleaved(Random(8))
    third = len(ordered) // 3
    log = MemoryLog(2)
    writer = Writer(log)
    writer.write(ordered)
    await project(log, database)
    wanted = database.rows()
    database.wipe()
    log = MemoryLog(2)
    writer = Writer(log)
    writer.write(ordered[:third])
    await project(log, database)
    writer.write(ordered[third : 2 * third])
    changed = tuple(replace(p, revision=p.revision + 1) if p.name == "job_results" else p for p in TABLE)

    async def rebuilt() -> bool:
        found = database.status(log)
        return {name for name, s in found.items() if s.generation == 2 and s.state == "live"} == {"job_results"}

    async with following(log, database, changed):
        await eventually_async(rebuilt)
        writer.write(ordered[2 * third :])
        await eventually_async(partial(at_end, log, database))
    assert database.rows() == wanted


async def test_a_projection_that_is_new_catches_up_on_its_own(log: MemoryLog, database: Database) -> None:
    await project(log, database)
    wanted = database.rows()
    database.wipe()
    first = tuple(projection for projection in TABLE if projection.name not in ("runs", "events"))
    async with following(log, database, first):
        await eventually_async(partial(reached, log, database, [p.name for p in first]))
    await project(log, database)
    assert database.rows() == wanted


async def reached(log: MemoryLog, database: Database, names: list[str]) -> bool:
    return database.reached(log, names)


async def test_a_rebuild_that_meets_a_poison_event_is_given_up_and_the_old_tables_go_on(
    log: MemoryLog, database: Database
) -> None:
    await project(log, database)
    wanted = database.rows()
    broken = tuple(
        replace(p, revision=p.revision + 1, shapes=(replace(p.shapes[0], fold=_fail),)) if p.name == "runs" else p for p in TABLE
    )

    async def given_up() -> bool:
        status = database.status(log)["runs"]
        return status.state == "stopped" and status.rebuild_done is None

    async with following(log, database, broken):
        await eventually_async(given_up)
    status = database.status(log)["runs"]
    assert not status.rebuild_requested
    assert "the rebuild was given up at runs/" in status.error and "RuntimeError: no good" in status.error
    assert status.generation == 1
    assert database.rows() == wanted


def _fail(own: object, fact: object) -> None:
    raise RuntimeError("no good")


async def test_a_rebuild_of_what_does_not_exist_is_refused(log: MemoryLog, database: Database) -> None:
    await project(log, database)
    with database.writer.begin() as connection:
        assert not ask_for_rebuild(connection, "nonsense")
        assert ask_for_rebuild(connection, "runs")
    assert {name for name, status in database.status(log).items() if status.rebuild_requested} == {"runs"}


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
async def test_a_reader_that_holds_a_table_for_long_delays_only_the_swap(log: MemoryLog, database: Database) -> None:
    await project(log, database)
    async with following(log, database):
        with database.reader.connect() as holding:
            holding.execute(select(targets)).all()
            ask_for_all(database)
            await eventually_async(partial(swapped, log, database, set(NAMES) - {"targets"}), within=60)
            Writer(log).write_output([])
            assert database.status(log)["targets"].generation == 1
        await all_in_generation(database, log, 2)


async def swapped(log: MemoryLog, database: Database, names: set[str]) -> bool:
    return {name for name, s in database.status(log).items() if s.generation == 2} == names

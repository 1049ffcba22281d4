"""Does an event that one projection cannot take stop that one only, and does it say where? (HAZARDS case 42.)"""

from dataclasses import replace
from random import Random
from uuid import UUID

import orjson
import pytest

from domain.target import TargetRetitled
from infra.memory.log import MemoryLog
from projections.all import BY_NAME
from projections.position import version_applied
from schemas import event_types
from schemas.event_envelope import hash_of
from schemas.log import LogTruncated
from schemas.position import Partition
from schemas.wire import WireRecord, encode
from tests.projections.histories import History, Writer, random_history
from tests.projections.tables_seen import Database, following, project, run_follower
from tests.support.eventually import eventually_async


def written(history: History) -> tuple[MemoryLog, Writer]:
    log = MemoryLog(1)
    writer = Writer(log)
    writer.write(history.interleaved(Random(2)))
    writer.write_output(history.output)
    return log, writer


def next_event(history: History, stream: str, **more: object):
    last = history.streams[stream][-1]
    return replace(last, **{"event_id": UUID(int=99), "version": last.version + 1, **more})


@pytest.fixture
def history() -> History:
    return random_history(Random(1), 120)


async def stopped(database: Database, log: MemoryLog, *names: str) -> None:
    """Wait until exactly these are stopped and all others have read everything."""

    async def check() -> bool:
        found = {name for name, status in database.status(log).items() if status.state == "stopped"}
        return found == set(names) and database.reached(log, set(BY_NAME) - set(names))

    await eventually_async(check)


async def test_an_unknown_event_stops_its_projection_which_goes_on_after_an_upgrade(
    history: History, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, writer = written(history)
    poison = next_event(history, "target/web-01", type="TargetPainted", payload=b'{"title":"blue"}')
    (at,) = writer.write([poison])
    after = {"version": poison.version + 1, "event_id": UUID(int=100), "type": "TargetRetired", "payload": b"{}"}
    writer.write([next_event(history, "target/web-01", **after)])
    async with following(log, database):
        await stopped(database, log, "targets")
    status = database.status(log)["targets"]
    assert status.stopped_at == str(at)
    assert "TargetPainted of target/web-01" in status.error and "UnknownEvent" in status.error
    assert status.positions[at.partition] == at.offset, "everything before it is projected"
    assert status.lag_events == 2
    monkeypatch.setitem(event_types.TABLE, "TargetPainted", (1, TargetRetitled))
    async with following(log, database):
        await stopped(database, log)
    (row,) = [row for row in database.rows()["targets"] if row["name"] == "web-01"]
    assert (row["title"], row["retired"], row["version"]) == ("blue", True, poison.version + 1)


async def test_a_schema_version_from_the_future_stops_all_who_must_understand_it(history: History, database: Database) -> None:
    log, writer = written(history)
    run = next(stream for stream in history.streams if stream.startswith("run/"))
    writer.write([next_event(history, run, schema_version=2)])
    async with following(log, database):
        await stopped(database, log, "runs", "run_steps", "job_results")


async def test_bytes_that_are_no_event_stop_all_readers_of_their_topic(history: History, database: Database) -> None:
    log, _ = written(history)
    offset = log.put(Partition("users", 0), WireRecord(b"user/x", b"garbage"))
    async with following(log, database):
        await stopped(database, log, "users", "roles", "events")
    assert database.status(log)["users"].stopped_at == f"users/0/{offset}"


async def test_versions_of_other_streams_go_on_being_applied_when_the_audit_index_has_stopped(
    history: History, database: Database
) -> None:
    log, writer = written(history)
    run = next(stream for stream in history.streams if stream.startswith("run/"))
    log.put(Partition("targets", 0), WireRecord(b"target/x", b"garbage"))
    seen = {
        "user/admin": ("users", "roles"),
        "credential/root": ("credentials",),
        "job/backup": ("jobs",),
        run: ("runs", "run_steps"),
    }
    types = {"user": "UserDisabled", "credential": "CredentialRevoked", "job": "JobArchived", "run": "RunCancelRequested"}
    lost = next_event(history, "target/web-01", type="TargetRetired", payload=b"{}")
    for restarted in (False, True):
        async with following(log, database):
            await stopped(database, log, "targets", "events")
            if not restarted:
                for number, stream in enumerate(seen):
                    said = {"type": types[stream.partition("/")[0]], "payload": b'{"reason":""}' if stream == run else b"{}"}
                    writer.write([next_event(history, stream, event_id=UUID(int=200 + number), schema_version=1, **said)])
                writer.write([lost])
                await stopped(database, log, "targets", "events")
        with database.reader.connect() as connection:
            for stream, names in seen.items():
                version = history.streams[stream][-1].version + 1
                for name in names:
                    assert version_applied(connection, name, stream, version, 1), (name, stream)
                    assert not version_applied(connection, name, stream, version + 1, 1), (name, stream)
                assert not version_applied(connection, "events", stream, version, 1), "of itself it says what it has taken in"
            assert version_applied(connection, "targets", "target/web-01", lost.version - 1, 1)
            assert not version_applied(connection, "targets", "target/web-01", lost.version, 1)


async def test_the_audit_index_has_applied_what_a_stopped_projection_has_not(history: History, database: Database) -> None:
    log, writer = written(history)
    poison = next_event(history, "target/web-01", type="TargetPainted", payload=b"{}")
    writer.write([poison])
    async with following(log, database):
        await stopped(database, log, "targets")
    with database.reader.connect() as connection:
        assert version_applied(connection, "events", "target/web-01", poison.version, 1)
        assert not version_applied(connection, "targets", "target/web-01", poison.version, 1)


async def test_bytes_that_are_no_output_are_passed_over(history: History, database: Database) -> None:
    log, _ = written(history)
    log.put(Partition("run-output", 0), WireRecord(b"x", b"garbage"))
    await project(log, database)


async def test_a_row_that_the_database_refuses_stops_its_projection_only(history: History, database: Database) -> None:
    log, writer = written(history)
    twice = history.streams["target/web-01"][0].event_id
    (at,) = writer.write([next_event(history, "user/admin", event_id=twice)])
    async with following(log, database):
        await stopped(database, log, "events")
    status = database.status(log)["events"]
    assert status.stopped_at == str(at)
    assert "StoreRefused" not in status.error and "unique" in status.error.lower()


async def test_a_nul_character_that_got_through_stops_its_projection_on_postgres(history: History, database: Database) -> None:
    log, writer = written(history)
    (at,) = writer.write([next_event(history, "target/web-01", type="TargetRetitled", payload=b'{"title":"a\\u0000b"}')])
    if database.writer.dialect.name == "sqlite":
        await project(log, database)
        return
    async with following(log, database):
        await stopped(database, log, "targets")
    assert database.status(log)["targets"].stopped_at == str(at)


async def test_a_gap_in_a_streams_versions_stops_every_reader_of_it_for_good(history: History, database: Database) -> None:
    log, writer = written(history)
    run = next(stream for stream in history.streams if stream.startswith("run/"))
    last = history.streams[run][-1]
    (at,) = writer.write([next_event(history, run, version=last.version + 2)])
    readers = ("runs", "run_steps", "job_results", "events")
    for _ in ("at first", "and after a restart, when memory is empty"):
        async with following(log, database):
            await stopped(database, log, *readers)
        for name in readers:
            status = database.status(log)[name]
            assert status.stopped_at == str(at)
            assert f"version {last.version + 2} of {run} follows version {last.version}" in status.error


@pytest.mark.parametrize("change", ["payload", "dropped", "reordered", "inserted"])
async def test_an_altered_dropped_or_moved_event_stops_every_reader(history: History, database: Database, change: str) -> None:
    log, writer = written(history)
    await project(log, database)
    title = {"type": "TargetRetitled", "version": history.streams["target/web-01"][-1].version + 1}
    first = writer.chained(next_event(history, "target/web-01", payload=b'{"title":"one"}', **title))
    title["version"] += 1
    second = writer.chained(
        next_event(history, "target/web-01", payload=b'{"title":"two"}', **{**title, "event_id": UUID(int=101)})
    )
    forged = replace(next_event(history, "target/web-02", event_id=UUID(int=102)), previous_hash=first.previous_hash)
    partition = writer.partition("target/web-01")
    put = {
        "payload": [replace(first, payload=orjson.dumps({"title": "other"})), second],
        "dropped": [second],
        "reordered": [second, first],
        "inserted": [replace(forged, hash=hash_of(forged)), first],
    }[change]
    for event in put:
        log.put(partition, encode(event))
    async with following(log, database):
        await stopped(database, log, "targets", "events")


async def test_a_log_that_lost_what_is_still_to_be_read_stops_everything_and_says_why(
    history: History, database: Database
) -> None:
    log, _ = written(history)
    log.delete_before(Partition("targets", 0), 3)
    with pytest.raises(LogTruncated):
        await run_follower(log, database)
    status = database.status(log)
    assert {s.state for s in status.values()} == {"stopped"}
    assert all("log_truncated" in s.error for s in status.values())

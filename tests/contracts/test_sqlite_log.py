"""What only the SQLite log promises: group commit, a full disk, old readers, retention, one process a folder."""

import asyncio
import sqlite3
import time

import pytest

from infra.sqlite import checkpoints, writer
from infra.sqlite.connections import LOG_FILE, has_wal_reset_bug, open_reader
from infra.sqlite.feed import POLL_S
from infra.sqlite.lock import FolderInUse, FolderUnsuitable
from infra.sqlite.log import SqliteLog
from schemas.log import CommitAborted, LogUnavailable, OwnershipLost, ResultUnknown
from schemas.position import Partition
from tests.contracts.records import chunk, command, event, outcome
from tests.contracts.sqlite_harness import Hold, SqliteHarness, write
from tests.contracts.working import commit_all, decide, read_to_end, take_all
from tests.support.eventually import eventually_async

SHARDS = SqliteHarness.shards
DAY_S = 86_400


@pytest.fixture
async def log(tmp_path):
    log = await SqliteLog.open(tmp_path, SHARDS)
    yield log
    await log.close()


async def test_commands_sent_at_the_same_time_share_a_transaction(log):
    before = log.writer.transactions
    await asyncio.gather(*(log.sender.send(command(number)) for number in range(100)))
    assert log.writer.transactions - before <= 5


async def test_a_commit_is_seen_within_milliseconds_and_not_by_polling(log):
    partition = Partition("run-output", 0)
    feed = await log.reader.feed({partition: 0})
    took = []
    for number in range(1, 21):
        waiting = asyncio.create_task(feed.read(1, 5.0))
        await asyncio.sleep(0.001)
        await log.records.publish(partition, [chunk(number)])
        committed = time.perf_counter()
        await waiting
        took.append(time.perf_counter() - committed)
    assert sorted(took)[10] < POLL_S / 2, "who only looks now and then sees most of them later"


async def test_a_second_open_in_the_same_process_is_refused_too(log, tmp_path):
    with pytest.raises(FolderInUse):
        await SqliteLog.open(tmp_path, SHARDS)


async def test_the_number_of_shards_cannot_change(log, tmp_path):
    await log.close()
    with pytest.raises(FolderUnsuitable, match=f"created with {SHARDS} shards"):
        await SqliteLog.open(tmp_path, SHARDS + 1)
    again = await SqliteLog.open(tmp_path, SHARDS)
    assert again.reader.shards == SHARDS
    await again.close()


async def test_a_file_of_a_format_from_the_future_is_refused(log, tmp_path):
    write(log, "PRAGMA user_version=99")
    await log.close()
    with pytest.raises(FolderUnsuitable, match="format 99"):
        await SqliteLog.open(tmp_path, SHARDS)


async def test_a_closed_log_refuses_everything_and_hangs_nowhere(tmp_path):
    log = await SqliteLog.open(tmp_path, SHARDS)
    await log.close()
    with pytest.raises(LogUnavailable):
        await log.sender.send(command())
    with pytest.raises(LogUnavailable):
        await log.outcomes.find(command().command_id)


async def test_a_full_disk_acknowledges_nothing_and_works_again_once_there_is_room(log):
    harness = SqliteHarness(None)
    cause = command()
    await log.sender.send(cause)
    owner = log.owned_shards("one")
    taken = await take_all(harness, owner, 1)
    (pages,) = log.writer._connection.execute("PRAGMA page_count").fetchone()
    write(log, f"PRAGMA max_page_count={pages + 2}")
    large = b'{"x": "%s"}' % (b"x" * 200_000)
    with pytest.raises(CommitAborted, match="full"):
        await owner.commit(taken, [event(cause, payload=large)], [outcome(cause)])
    with pytest.raises(LogUnavailable, match="full"):
        await log.records.publish(Partition("run-output", 0), [chunk(n, run="r" * 1000) for n in range(1, 200)])
    assert await read_to_end(harness, log, "targets", "outcomes", "run-output") == []
    write(log, "PRAGMA max_page_count=1073741823")
    again = await take_all(harness, owner, 1)
    assert again.shards == taken.shards
    await commit_all(owner, again)
    assert [r.position.offset for r in await read_to_end(harness, log, "targets")] == [0]


async def test_a_commit_whose_result_is_in_doubt_ends_the_tenure_and_the_truth_is_read_from_the_file(log):
    harness = SqliteHarness(None)
    cause = command()
    await log.sender.send(cause)
    owner = log.owned_shards("one")
    taken = await take_all(harness, owner, 1)
    log.writer._connection = Doubtful(log.writer._connection)
    with pytest.raises(OwnershipLost):
        await commit_all(owner, taken)
    after = await owner.take(10, 0.05)
    assert not after.commands, "it was committed after all, so it must not be decided again"
    assert all(after.shards[shard] != taken.shards[shard] for shard in after.shards)
    assert len(await read_to_end(harness, log, "targets")) == 1


async def test_a_commit_that_its_caller_gave_up_waiting_for_is_not_repeated(log):
    harness = SqliteHarness(None)
    await log.sender.send(command())
    owner = log.owned_shards("one")
    taken = await take_all(harness, owner, 1)
    hold = Hold()
    held = asyncio.create_task(log.writer.submit(hold))
    await asyncio.to_thread(hold.reached.wait)
    given_up = asyncio.create_task(commit_all(owner, taken))
    await asyncio.sleep(0)
    given_up.cancel()
    hold.go.set()
    await held
    with pytest.raises(OwnershipLost):
        await commit_all(owner, taken)
    assert not (await owner.take(1, 0.05)).commands
    assert len(await read_to_end(harness, log, "targets")) == 1


async def test_whoever_only_asks_while_a_commit_is_in_doubt_may_ask_again(log):
    hold, asked = Hold(), [Partition("targets", 0)]
    held = asyncio.create_task(log.writer.submit(hold))
    await asyncio.to_thread(hold.reached.wait)
    log.writer._connection = Doubtful(log.writer._connection)
    waiting = [asyncio.create_task(each) for each in (log.sender.send(command()), log.reader.ends(asked), log.reader.ends(asked))]
    await asyncio.sleep(0)
    hold.go.set()
    await held
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in told] == [ResultUnknown, LogUnavailable, LogUnavailable]
    assert len({id(each) for each in told}) == 3, "an exception that several raise gathers the traces of all"
    assert await log.reader.ends(asked) == {asked[0]: 0}


class Doubtful:
    """A connection whose next COMMIT is done and says that it failed, as a disk may."""

    def __init__(self, connection):
        self._connection, self._armed = connection, True

    def execute(self, statement, *values):
        result = self._connection.execute(statement, *values)
        if statement == "COMMIT" and self._armed:
            self._armed = False
            raise sqlite3.OperationalError("disk I/O error")
        return result

    def __getattr__(self, name):
        return getattr(self._connection, name)


async def test_too_many_waiting_requests_are_refused_and_those_that_wait_are_served(log, monkeypatch):
    monkeypatch.setattr(writer, "MAX_WAITING", 10)
    hold = Hold()
    held = asyncio.create_task(log.writer.submit(hold))
    await asyncio.to_thread(hold.reached.wait)
    sends = [asyncio.create_task(log.sender.send(command(number))) for number in range(15)]
    await asyncio.sleep(0.05)
    hold.go.set()
    results = await asyncio.gather(*sends, return_exceptions=True)
    await held
    assert [type(result) for result in results].count(LogUnavailable) == 5
    assert len(await read_to_end(SqliteHarness(None), log, "commands.people")) == 10


async def test_a_disk_that_does_not_answer_is_told_apart_from_one_that_was_not_asked(log, monkeypatch):
    monkeypatch.setattr(writer, "WITHIN_S", 0.1)
    hold = Hold()
    held = asyncio.create_task(log.writer.submit(hold))
    await asyncio.to_thread(hold.reached.wait)
    with pytest.raises(LogUnavailable, match="nothing was written"):
        await log.sender.send(command())
    with pytest.raises(ResultUnknown):
        await held
    hold.go.set()
    monkeypatch.setattr(writer, "WITHIN_S", 10.0)
    await log.sender.send(command())
    assert len(await read_to_end(SqliteHarness(None), log, "commands.people")) == 1


async def test_an_old_reader_blocks_no_write_and_the_log_behind_it_shrinks_once_it_is_gone(log, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINT_BYTES", 200_000)
    monkeypatch.setattr(checkpoints, "LARGE_BYTES", 2_000_000)
    monkeypatch.setattr(checkpoints, "INSIST_EVERY_S", 0.0)
    reader = open_reader(tmp_path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM records").fetchone()
    partition = Partition("run-output", 0)
    lines = [chunk(n, run="r" * 1000) for n in range(1, 101)]
    slowest = 0.0
    for _ in range(30):
        began = time.perf_counter()
        await log.records.publish(partition, lines)
        slowest = max(slowest, time.perf_counter() - began)
    assert slowest < 20.0
    grown = log.checkpoints.wal_bytes()
    assert grown > 2_000_000
    assert reader.execute("SELECT count(*) FROM records").fetchone() == (0,)
    reader.close()

    async def shrunk():
        await log.records.publish(partition, lines)
        assert log.checkpoints.wal_bytes() < grown / 2

    await eventually_async(shrunk)


async def test_a_reader_that_keeps_an_old_transaction_open_is_warned_of(log, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(checkpoints, "CHECKPOINT_TRANSACTIONS", 1)
    monkeypatch.setattr(checkpoints, "LARGE_BYTES", 100_000)
    reader = open_reader(tmp_path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM records").fetchone()

    async def warned():
        await log.records.publish(Partition("run-output", 0), [chunk(n, run="r" * 1000) for n in range(1, 101)])
        assert "a reader keeps an old transaction open" in caplog.text

    await eventually_async(warned)
    reader.close()


async def test_the_log_ahead_of_the_file_stays_small_however_small_the_transactions_are(log, monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINT_TRANSACTIONS", 20)
    for number in range(200):
        await log.sender.send(command(number))
    assert log.writer.transactions == 200
    assert log.checkpoints.wal_bytes() < 200 * 2 * 8192 / 2, "each transaction writes two pages of 8 kB at least"


async def test_a_file_that_is_no_log_or_a_broken_one_is_refused_in_one_line(log, tmp_path):
    await log.sender.send(command())
    await log.close()
    whole = (tmp_path / LOG_FILE).read_bytes()
    broken = bytearray(whole)
    broken[8192:] = bytes(len(whole) - 8192)
    for content in (whole[: len(whole) // 2], b"not a database" * 1000, bytes(broken)):
        (tmp_path / LOG_FILE).write_bytes(content)
        with pytest.raises(FolderUnsuitable, match="cannot be used"):
            await SqliteLog.open(tmp_path, SHARDS)
    (tmp_path / LOG_FILE).write_bytes(whole)
    await (await SqliteLog.open(tmp_path, SHARDS)).close()


async def test_finite_topics_forget_what_is_too_old_and_keep_what_is_not_consumed_and_all_events(tmp_path):
    now = [1_000_000_000.0]
    log = await SqliteLog.open(tmp_path, SHARDS, clock=lambda: now[0])
    harness = SqliteHarness(None)
    same = "target/same"
    old = [command(n, stream=same) for n in range(3)]
    waiting = [command(n, stream=same) for n in range(3, 6)]
    owner = await decide(harness, log, *old)
    for each in waiting:
        await log.sender.send(each)
    now[0] += 8 * DAY_S
    await log.close()
    log = await SqliteLog.open(tmp_path, SHARDS, clock=lambda: now[0])

    async def forgotten():
        # The newest record of a partition stays, so that its end is known for ever.
        assert await log.outcomes.find(old[0].command_id) is None
        assert len(await read_to_end(harness, log, "outcomes")) == 1

    await eventually_async(forgotten)
    assert [r.body for r in await read_to_end(harness, log, "commands.people")] == waiting
    assert len(await read_to_end(harness, log, "targets")) == 3
    owner = log.owned_shards("one")
    taken = await take_all(harness, owner, 3)
    assert [c.body for c in taken.commands] == waiting
    positions = await owner.commit(taken, [event(c) for c in waiting], [outcome(c) for c in waiting])
    assert [p.offset for p in positions] == [3, 4, 5]
    assert await log.outcomes.find(waiting[0].command_id) == outcome(waiting[0])
    await log.close()


async def test_a_folder_without_a_log_cannot_be_read(tmp_path):
    with pytest.raises(FolderUnsuitable, match="no log"):
        await SqliteLog.read_only(tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_a_log_can_be_read_that_no_process_has_open(log, tmp_path):
    harness = SqliteHarness(None)
    cause = command()
    await decide(harness, log, cause)
    await log.close()
    audit = await SqliteLog.read_only(tmp_path)
    assert [r.body.command_id for r in await read_to_end(harness, audit, "targets")] == [cause.command_id]
    await audit.close()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        open_reader(tmp_path).execute("DELETE FROM records")


@pytest.mark.parametrize(
    ("version", "bug"),
    [
        ((3, 6, 23), False),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_versions_of_sqlite_with_the_wal_reset_bug_are_known(version, bug):
    assert has_wal_reset_bug(version) is bug


async def test_the_file_is_written_with_full_sync_ahead_of_time(log, tmp_path):
    assert log.writer._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert log.writer._connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    assert (tmp_path / f"{LOG_FILE}-wal").exists()


async def test_nobody_else_on_the_machine_can_read_the_files(log, tmp_path):
    await log.sender.send(command())
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


async def test_an_outcome_that_was_never_told_is_found_when_the_wait_is_over(log):
    # A commit whose result was in doubt tells nobody, and turns out to be in the file.
    cause = command(1)
    owner = await decide(SqliteHarness, log, cause)
    await owner.close()
    log.outcomes._recent.clear()
    log.outcomes.expect(cause.command_id)
    assert await log.outcomes.wait(cause.command_id, 0.1) == outcome(cause)

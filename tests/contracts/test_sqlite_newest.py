"""What was written last is read from memory, and only what is in the file."""

from random import Random
from time import process_time

import pytest

from infra.sqlite.layout import Layout
from infra.sqlite.newest import MOST_AT_ONCE, MOST_RECORDS, Newest
from infra.sqlite.reading import MOST_KEPT_BYTES, Stretch
from schemas.position import Partition
from schemas.topics import BY_NAME
from schemas.wire import encode
from tests.contracts.sqlite_harness import SqliteHarness, open_harness
from tests.contracts.test_log_reading import chunk

__all__ = ["SqliteHarness", "open_harness"]

A, B = Partition("run-output", 0), Partition("run-output", 1)
LAYOUT = Layout(2, {name: number for number, name in enumerate(BY_NAME)})


def row(partition, offset, length=0):
    record = encode(chunk(offset))
    value = record.value + b" " * length
    return partition, (LAYOUT.first_id(partition) + offset, record.key, value, b"[]", 0)


def commit(newest, *rows):
    newest.committed({partition: made[0] + 1 for partition, made in rows}, rows)


def offsets(newest, *stretches, limit=1_000):
    found = newest.read_on([Stretch(*stretch) for stretch in stretches], limit)
    return None if found is None else [(recorded.position.shard, recorded.position.offset) for recorded in found]


def test_what_was_committed_is_read_in_order_from_where_a_reader_stands():
    newest = Newest(LAYOUT)
    commit(newest, row(A, 0), row(A, 1), row(B, 0))
    commit(newest, row(A, 2))
    assert offsets(newest, (A, 1, 3), (B, 0, 1)) == [(0, 1), (0, 2), (1, 0)]
    assert offsets(newest, (A, 0, 2)) == [(0, 0), (0, 1)]


def test_no_more_is_given_than_was_asked_for():
    newest = Newest(LAYOUT)
    commit(newest, row(A, 0), row(A, 1), row(B, 0))
    assert offsets(newest, (A, 0, 2), (B, 0, 1), limit=1) == [(0, 0)]
    assert offsets(newest, (A, 0, 2), (B, 0, 1), limit=2) == [(0, 0), (0, 1)]


def test_whoever_stands_before_what_is_kept_goes_to_the_file():
    newest = Newest(LAYOUT)
    commit(newest, row(A, 7))
    assert offsets(newest, (A, 6, 8)) is None
    assert offsets(newest, (A, 7, 8), (B, 0, 1)) is None


def test_behind_a_record_too_large_to_be_kept_it_begins_anew():
    newest = Newest(LAYOUT)
    commit(newest, row(A, 0), row(A, 1, length=MOST_KEPT_BYTES), row(A, 2))
    assert offsets(newest, (A, 0, 3)) is None
    assert offsets(newest, (A, 1, 3)) is None
    assert offsets(newest, (A, 2, 3)) == [(0, 2)]


def test_where_a_commit_in_doubt_wrote_what_was_never_told_the_file_is_read():
    newest = Newest(LAYOUT)
    commit(newest, row(A, 0))
    newest.committed({A: LAYOUT.first_id(A) + 3}, ())
    assert offsets(newest, (A, 0, 3)) is None
    commit(newest, row(A, 3))
    assert offsets(newest, (A, 3, 4)) == [(0, 3)]
    assert offsets(newest, (A, 1, 4)) is None


@pytest.mark.parametrize("seed", range(5))
def test_however_it_is_filled_it_keeps_so_many_records_and_each_partition_without_gaps(seed):
    random, newest, ends = Random(seed), Newest(LAYOUT), {A: 0, B: 0}
    for _ in range(3 * MOST_RECORDS):
        partition = random.choice((A, A, B))
        commit(newest, row(partition, ends[partition], length=MOST_KEPT_BYTES if random.random() < 0.001 else 0))
        ends[partition] += 1
    kept = {partition: [made[0] - LAYOUT.first_id(partition) for made in rows] for partition, rows in newest._rows.items()}
    assert 0 < sum(len(each) for each in kept.values()) <= len(newest._order) <= MOST_RECORDS
    for partition, found in kept.items():
        assert found == list(range(ends[partition] - len(found), ends[partition]))


async def test_readers_of_what_was_just_written_do_not_go_to_the_file(tmp_path):
    harness = SqliteHarness(tmp_path / "log")
    log = await harness.open()
    feed = await log.reader.feed({A: 0})
    try:

        async def refused(read):
            raise AssertionError("the file was read")

        log._pool.run = refused
        await log.records.publish(A, [chunk(n) for n in range(1, 4)])
        assert [recorded.body.sequence for recorded in await feed.read(10, 5)] == [1, 2, 3]
    finally:
        del log._pool.run
        await harness.close()


def test_a_group_of_many_large_records_costs_no_more_than_its_rows():
    newest, rows = Newest(LAYOUT), []
    for offset in range(MOST_RECORDS):
        rows += [row(B, offset), row(A, offset, length=MOST_KEPT_BYTES if offset % 2 else 0)]
    began = process_time()
    commit(newest, *rows)
    assert process_time() - began < 1
    assert offsets(newest, (A, MOST_RECORDS - 1, MOST_RECORDS)) is None


def test_one_read_hands_out_a_bounded_number():
    newest = Newest(LAYOUT)
    commit(newest, *[row(A, offset) for offset in range(MOST_AT_ONCE + 10)])
    assert len(offsets(newest, (A, 0, MOST_AT_ONCE + 10))) == MOST_AT_ONCE

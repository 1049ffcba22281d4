"""Feeds, ends and finite records, on every adapter."""

import asyncio
from itertools import pairwise

import pytest

from schemas.heartbeat import Heartbeat
from schemas.log import LogTruncated, RecordTooLarge, Undecodable
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.topics import MAX_RECORD_BYTES
from schemas.wire import WireRecord, encode
from tests.contracts.harness import from_start
from tests.contracts.records import TIME, chunk, command, event, outcome
from tests.contracts.working import commit_all, decide, events_of, read_to_end, read_until, take_some

OUTPUT = Partition("run-output", 1)


async def test_a_feed_hands_out_each_partition_in_order_and_nothing_twice(harness):
    log = await harness.open()
    owner = await decide(harness, log, *map(command, range(60)))
    read = await read_to_end(harness, log, "targets")
    assert len({r.body.command_id for r in read}) == len(read) == 60
    for shard in range(harness.shards):
        offsets = [r.position.offset for r in read if r.position.shard == shard]
        assert all(earlier < later for earlier, later in pairwise(offsets))
    await owner.close()


async def test_a_feed_goes_on_from_the_positions_of_another(harness):
    log = await harness.open()
    owner = await decide(harness, log, *map(command, range(40)))
    start = from_start("targets", harness.shards)
    first = await log.reader.feed(start)
    found = []
    while len(found) < 15:
        found += await first.read(4, harness.patience_s)
    await first.close()
    ends = await log.reader.ends(list(start))
    rest = await read_until(harness, await log.reader.feed(first.positions), ends)
    whole = await read_to_end(harness, log, "targets")
    assert sorted([r.position for r in found + rest]) == sorted(r.position for r in whole)
    await owner.close()


async def test_a_feed_hands_out_no_more_than_it_was_asked_for(harness):
    log = await harness.open()
    owner = await decide(harness, log, *map(command, range(20)))
    feed = await log.reader.feed(from_start("targets", harness.shards))
    assert 1 <= len(await feed.read(3, harness.patience_s)) <= 3
    await feed.close()
    await owner.close()


async def test_a_busy_partition_does_not_starve_another(harness):
    log = await harness.open()
    busy, quiet = Partition("run-output", 0), Partition("run-output", 1)
    await log.records.publish(busy, [chunk(n) for n in range(1, 201)])
    await log.records.publish(quiet, [chunk()])
    feed = await log.reader.feed({busy: 0, quiet: 0})
    found = []
    while not any(r.position.partition == quiet for r in found):
        found += await feed.read(10, harness.patience_s)
        assert len(found) < 201, "the quiet partition came last"
    await feed.close()


async def test_a_waiting_feed_gets_a_record_as_soon_as_it_is_committed(harness):
    log = await harness.open()
    feed = await log.reader.feed(from_start("targets", harness.shards))
    waiting = asyncio.create_task(feed.read(10, harness.patience_s))
    await asyncio.sleep(0)
    cause = command()
    owner = await decide(harness, log, cause)
    assert [r.body.command_id for r in await waiting] == [cause.command_id]
    assert await feed.read(10, harness.glance_s) in ([], ())
    await feed.close()
    await owner.close()


async def test_an_aborted_transaction_is_never_seen_by_any_reader(harness):
    log = await harness.open()
    lost, kept = command(1), command(1)
    await log.sender.send(lost)
    owner = log.owned_shards("one")
    early = await log.reader.feed(from_start("targets", harness.shards) | from_start("outcomes", harness.shards))
    taken = await take_some(harness, owner)
    staged = await harness.stage(log, owner, taken, [event(lost, payload=b'{"aborted": 1}')], [outcome(lost)])
    await staged.abort()
    await owner.abandon(taken)
    assert await early.read(10, harness.glance_s) in ([], ())
    assert await log.outcomes.find(lost.command_id) is None
    await owner.close()
    owner = await decide_rest(harness, log, kept)
    for read in (await read_to_end(harness, log), await read_all_of(harness, early, log)):
        told = [r.body for r in read if r.position.topic == "targets"]
        assert {e.command_id for e in told} == {lost.command_id, kept.command_id}
        assert len(told) == 2
        assert all(e.payload != b'{"aborted": 1}' for e in told)
    await owner.close()


async def test_ends_cover_what_is_undecided_and_a_feed_that_reached_them_has_seen_everything(harness):
    log = await harness.open()
    cause = command()
    await log.sender.send(cause)
    owner = log.owned_shards("one")
    taken = await take_some(harness, owner)
    staged = await harness.stage(log, owner, taken, [event(cause)], [outcome(cause)])
    start = from_start("targets", harness.shards)
    asked = asyncio.create_task(log.reader.ends(list(start)))
    feed = await log.reader.feed(start)
    assert await feed.read(10, harness.glance_s) in ([], ())
    await staged.commit()
    ends = await asked
    assert ends[events_of(harness, cause)] >= 1
    assert [r.body.command_id for r in await read_until(harness, feed, ends)] == [cause.command_id]
    await owner.close()


async def test_a_feed_reaches_ends_that_cover_an_aborted_transaction(harness):
    log = await harness.open()
    cause = command()
    await log.sender.send(cause)
    owner = log.owned_shards("one")
    taken = await take_some(harness, owner)
    staged = await harness.stage(log, owner, taken, [event(cause)], [outcome(cause)])
    start = from_start("targets", harness.shards)
    asked = asyncio.create_task(log.reader.ends(list(start)))
    await asyncio.sleep(harness.glance_s)
    await staged.abort()
    assert await read_until(harness, await log.reader.feed(start), await asked) == []
    await owner.close()


async def test_a_record_that_cannot_be_decoded_is_handed_out_as_such_and_does_not_stop_the_feed(harness):
    log = await harness.open()
    cause = command()
    partition = events_of(harness, cause)
    await harness.put(log, partition, WireRecord(b"k\xff", b"{", (("ce_id", b"\x00\xff"),)))
    elsewhere = next(c for c in map(command, range(50)) if shard_of(c.stream, harness.shards) != partition.shard)
    await harness.put(log, partition, encode(event(elsewhere)))
    owner = await decide(harness, log, cause)
    first, second, third = (r.body for r in await read_to_end(harness, log, "targets"))
    assert isinstance(first, Undecodable)
    assert isinstance(second, Undecodable)
    assert (first.key, first.value) == (b"k\xff", b"{")
    assert third.command_id == cause.command_id
    await owner.close()


async def test_finite_records_are_published_in_order_and_their_end_is_told(harness):
    log = await harness.open()
    end = await log.records.publish(OUTPUT, [chunk(1), chunk(2)])
    assert (await log.reader.ends([OUTPUT]))[OUTPUT] == end
    later = await log.records.publish(OUTPUT, [chunk(3)])
    assert later > end
    read = await read_until(harness, await log.reader.feed({OUTPUT: 0}), {OUTPUT: later})
    assert [r.body.sequence for r in read] == [1, 2, 3]
    assert [r.body.sequence for r in read if r.position.offset >= end] == [3]
    beat = Heartbeat(executor="e", time=TIME, running=3)
    end = await log.records.publish(Partition("executors", 0), [beat])
    read = await read_until(harness, await log.reader.feed({Partition("executors", 0): 0}), {Partition("executors", 0): end})
    assert [r.body for r in read] == [beat]


async def test_a_finite_record_too_large_is_refused_with_its_whole_group(harness):
    log = await harness.open()
    large = chunk(2)
    object.__setattr__(large, "text", "x" * MAX_RECORD_BYTES)
    with pytest.raises(RecordTooLarge):
        await log.records.publish(OUTPUT, [chunk(1), large])
    assert (await log.reader.ends([OUTPUT]))[OUTPUT] == 0


async def test_a_start_before_what_a_finite_topic_still_holds_begins_there(harness):
    log = await harness.open()
    end = await log.records.publish(OUTPUT, [chunk(n) for n in range(1, 11)])
    whole = await read_until(harness, await log.reader.feed({OUTPUT: 0}), {OUTPUT: end})
    await harness.delete_before(log, OUTPUT, whole[6].position.offset)
    left = await read_until(harness, await log.reader.feed({OUTPUT: 0}), {OUTPUT: end})
    assert [r.body.sequence for r in left] == [7, 8, 9, 10]


async def test_events_that_are_missing_stop_a_feed_and_are_never_skipped(harness):
    log = await harness.open()
    cause = command()
    owner = await decide(harness, log, *[command(n, stream=cause.stream) for n in range(5)])
    partition = events_of(harness, cause)
    await harness.delete_before(log, partition, 2)
    with pytest.raises(LogTruncated):
        await (await log.reader.feed({partition: 0})).read(10, harness.patience_s)
    await owner.close()


async def test_a_start_beyond_the_end_stops_a_feed(harness):
    log = await harness.open()
    cause = command()
    owner = await decide(harness, log, cause)
    partition = events_of(harness, cause)
    beyond = (await log.reader.ends([partition]))[partition] + 10
    with pytest.raises(LogTruncated):
        await (await log.reader.feed({partition: beyond})).read(10, harness.patience_s)
    await owner.close()


async def decide_rest(harness, log, more):
    """Have everything that waits decided, and `more`."""
    await log.sender.send(more)
    owner = log.owned_shards("decides")
    decided = set()
    while more.command_id not in decided:
        taken = await take_some(harness, owner)
        await commit_all(owner, taken)
        decided |= {c.body.command_id for c in taken.commands}
    return owner


async def read_all_of(harness, feed, log):
    """What an open feed hands out up to the ends as of now."""
    return await read_until(harness, feed, await log.reader.ends(list(feed.positions)))

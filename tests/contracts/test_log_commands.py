"""Commands, outcomes and the owner's transaction, on every adapter."""

import asyncio
from uuid import uuid4

import pytest

from schemas.log import CommitAborted, RecordTooLarge, Taken, Undecodable
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.topics import COMMANDS_PEOPLE, COMMANDS_SYSTEM, MAX_RECORD_BYTES
from schemas.wire import WireRecord, encode
from tests.contracts.records import EXECUTOR, chunk, command, event, outcome
from tests.contracts.working import commit_all, decide, read_to_end, take_all, take_some


async def test_a_command_that_was_sent_is_taken_as_it_was_sent_from_its_lane(harness):
    log = await harness.open()
    person, role = command(1), command(2, actor=EXECUTOR)
    await log.sender.send(person)
    await log.sender.send(role)
    owner = log.owned_shards("one")
    taken = await take_all(harness, owner, 2)
    assert [c.body for c in taken.commands] == [person, role]
    assert [c.position.partition for c in taken.commands] == [
        Partition(COMMANDS_PEOPLE, shard_of(person.stream, harness.shards)),
        Partition(COMMANDS_SYSTEM, shard_of(role.stream, harness.shards)),
    ]
    assert set(taken.shards) == set(range(harness.shards))
    await owner.close()


async def test_people_are_served_before_the_flood_of_roles(harness):
    log = await harness.open()
    for number in range(20):
        await log.sender.send(command(number, actor=EXECUTOR))
    people = [command(number) for number in range(3)]
    for person in people:
        await log.sender.send(person)
    owner = log.owned_shards("one")
    taken = await take_all(harness, owner, 23)
    assert {c.body.command_id for c in taken.commands[:3]} == {person.command_id for person in people}
    await owner.close()


async def test_commands_of_one_stream_are_handed_out_in_the_order_they_were_sent(harness):
    log = await harness.open()
    sent = [command(number, stream="target/same") for number in range(30)]
    for each in sent:
        await log.sender.send(each)
    owner = log.owned_shards("one")
    seen = []
    while len(seen) < len(sent):
        taken = await take_some(harness, owner, limit=7)
        assert len(taken.commands) <= 7
        seen += [c.body for c in taken.commands]
        await commit_all(owner, taken)
    assert seen == sent
    await owner.close()


async def test_an_empty_batch_comes_when_nothing_waits(harness):
    log = await harness.open()
    owner = log.owned_shards("one")
    assert not (await owner.take(10, harness.glance_s)).commands
    await owner.close()


async def test_a_waiting_take_gets_a_command_as_soon_as_it_is_sent(harness):
    log = await harness.open()
    owner = log.owned_shards("one")
    waiting = asyncio.create_task(take_some(harness, owner))
    await asyncio.sleep(0)
    sent = command()
    await log.sender.send(sent)
    assert [c.body for c in (await waiting).commands] == [sent]
    await owner.close()


async def test_a_commit_makes_events_and_outcomes_visible_and_its_commands_are_not_handed_out_again(harness):
    log = await harness.open()
    causes = [command(number) for number in range(5)]
    for cause in causes:
        await log.sender.send(cause)
    owner = log.owned_shards("one")
    taken = await take_all(harness, owner, 5)
    events = [event(c.body) for c in taken.commands]
    outcomes = [outcome(c.body) for c in taken.commands]
    positions = await owner.commit(taken, events, outcomes)
    assert not (await owner.take(10, harness.glance_s)).commands
    read = await read_to_end(harness, log)
    assert {r.position: r.body for r in read if r.position.topic == "targets"} == dict(zip(positions, events, strict=True))
    assert sorted(str(r.body) for r in read if r.position.topic == "outcomes") == sorted(map(str, outcomes))
    await owner.close()


async def test_abandon_hands_the_same_batch_out_again(harness):
    log = await harness.open()
    for number in range(5):
        await log.sender.send(command(number))
    owner = log.owned_shards("one")
    first = await take_all(harness, owner, 5)
    await owner.abandon(first)
    again = await take_all(harness, owner, 5)
    assert sorted(c.position for c in again.commands) == sorted(c.position for c in first.commands)
    assert again.shards == first.shards
    await commit_all(owner, again)
    assert not (await owner.take(10, harness.glance_s)).commands
    await owner.close()


async def test_an_outcome_is_found_by_id_when_asked_before_and_after(harness):
    log = await harness.open()
    cause = command()
    before = asyncio.create_task(log.outcomes.wait(cause.command_id, harness.patience_s))
    await asyncio.sleep(0)
    assert await log.outcomes.find(cause.command_id) is None
    owner = await decide(harness, log, cause)
    assert await before == outcome(cause)
    assert await log.outcomes.wait(cause.command_id, harness.patience_s) == outcome(cause)
    assert await log.outcomes.find(cause.command_id) == outcome(cause)
    await owner.close()


async def test_waiting_for_an_outcome_that_does_not_come_ends_with_none(harness):
    log = await harness.open()
    assert await log.outcomes.wait(uuid4(), harness.glance_s) is None
    assert await log.outcomes.find(uuid4()) is None


async def test_one_command_id_sent_fifty_times_is_delivered_fifty_times(harness):
    log = await harness.open()
    same = command()
    await asyncio.gather(*(log.sender.send(same) for _ in range(50)))
    owner = log.owned_shards("one")
    delivered = []
    while len(delivered) < 50:
        taken = await take_some(harness, owner)
        delivered += taken.commands
        await owner.commit(taken, [], [])
    assert {c.body for c in delivered} == {same}
    assert len({c.position for c in delivered}) == len(delivered) == 50
    await owner.close()


async def test_a_command_too_large_is_refused_and_the_next_is_not(harness):
    log = await harness.open()
    large = command(1)
    object.__setattr__(large, "payload", b'{"x": "%s"}' % (b"x" * MAX_RECORD_BYTES))
    with pytest.raises(RecordTooLarge):
        await log.sender.send(large)
    owner = await decide(harness, log, command(2))
    assert not (await owner.take(10, harness.glance_s)).commands
    await owner.close()


async def test_an_event_too_large_in_the_middle_of_a_batch_leaves_nothing_of_the_batch(harness):
    log = await harness.open()
    for number in range(5):
        await log.sender.send(command(number))
    owner = log.owned_shards("one")
    taken = await take_all(harness, owner, 5)
    events = [event(c.body) for c in taken.commands]
    events[2] = event(taken.commands[2].body, payload=b'{"x": "%s"}' % (b"x" * MAX_RECORD_BYTES))
    with pytest.raises(CommitAborted):
        await owner.commit(taken, events, [outcome(c.body) for c in taken.commands])
    assert await read_to_end(harness, log) == []
    await owner.abandon(taken)
    again = await take_all(harness, owner, 5)
    await commit_all(owner, again)
    assert len(await read_to_end(harness, log, "targets")) == 5
    await owner.close()


async def test_a_batch_is_committed_in_parts_and_what_is_left_of_it_is_handed_out_again(harness):
    log = await harness.open()
    sent = [command(number, stream="target/same") for number in range(6)]
    for each in sent:
        await log.sender.send(each)
    owner = log.owned_shards("one")
    taken = await take_all(harness, owner, 6)
    for part in (taken.commands[:2], taken.commands[2:3]):
        await commit_all(owner, Taken(taken.shards, part))
    assert [r.body for r in await read_to_end(harness, log, "outcomes")] == [outcome(each) for each in sent[:3]]
    await owner.abandon(taken)
    left = await take_all(harness, owner, 3)
    assert [c.body for c in left.commands] == sent[3:]
    await commit_all(owner, left)
    assert not (await owner.take(10, harness.glance_s)).commands
    await owner.close()


async def test_what_a_dead_owner_had_committed_in_parts_is_not_handed_out_again(harness):
    log = await harness.open()
    sent = [command(number, stream="target/same") for number in range(4)]
    for each in sent:
        await log.sender.send(each)
    owner = log.owned_shards("one")
    taken = await take_all(harness, owner, 4)
    await commit_all(owner, Taken(taken.shards, taken.commands[:3]))
    await owner.close()
    heir = log.owned_shards("two")
    assert [c.body for c in (await take_all(harness, heir, 1)).commands] == sent[3:]
    await heir.close()


async def test_a_command_that_cannot_be_decoded_is_handed_out_as_such_and_does_not_stop_the_lane(harness):
    log = await harness.open()
    good = command(1)
    shard = shard_of(good.stream, harness.shards)
    lane = Partition(COMMANDS_PEOPLE, shard)
    elsewhere = next(c for c in map(command, range(50)) if shard_of(c.stream, harness.shards) != shard)
    await harness.put(log, lane, WireRecord(b"\xff", b"not json", ()))
    await harness.put(log, lane, encode(elsewhere))
    await log.sender.send(good)
    owner = log.owned_shards("one")
    taken = await take_all(harness, owner, 3)
    assert [type(c.body) for c in taken.commands[:2]] == [Undecodable, Undecodable]
    assert (taken.commands[0].body.key, taken.commands[0].body.value) == (b"\xff", b"not json")
    assert taken.commands[2].body == good
    await owner.commit(taken, [], [])
    assert not (await owner.take(10, harness.glance_s)).commands
    await owner.close()


async def test_what_was_committed_is_there_after_a_restart_and_what_was_not_is_handed_out_again(harness):
    log = await harness.open()
    decided, waiting = command(1), command(2)
    owner = await decide(harness, log, decided)
    await log.sender.send(waiting)
    await log.records.publish(Partition("run-output", 0), [chunk()])
    before = await read_to_end(harness, log)
    await owner.close()
    log = await harness.reopen(log)
    assert await read_to_end(harness, log) == before
    assert await log.outcomes.find(decided.command_id) == outcome(decided)
    assert [r.body for r in await read_to_end(harness, log, "run-output")] == [chunk()]
    owner = log.owned_shards("one")
    assert [c.body for c in (await take_some(harness, owner)).commands] == [waiting]
    await owner.close()

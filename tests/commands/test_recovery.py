"""A shard is taken over only when everything that was, or may yet be, committed before is known; and checked."""

import asyncio
from dataclasses import replace

import pytest

from infra.memory.log import MemoryLog
from infra.memory.state_store import MemoryStateStores
from infra.memory.storage import Fate
from schemas.event_envelope import EventEnvelope, hash_of
from schemas.log import LogTruncated
from schemas.position import Partition, Position
from schemas.topics import OUTCOMES
from schemas.unserved import UnservedShard
from schemas.wire import WireRecord, encode_event
from tests.commands.owning import BOUNDS, Running, codes, everything, owner_of, running, sound_events, told
from tests.support.builders import register_target, retitle_target

TARGETS = Partition("targets", 0)


@pytest.fixture
def log():
    return MemoryLog(1)


async def one_target(log, stores=None):
    """A log with one registered target; its event."""
    async with running(log, stores or MemoryStateStores()):
        await told(log, register_target())
    (event,) = await sound_events(log)
    return event


def next_event(before: EventEnvelope, **change) -> EventEnvelope:
    """A second event of the stream, sound but for the change; its hash fits the change unless that is the hash."""
    sound = {"type": "TargetRetitled", "version": 2, "payload": b'{"title":"new"}', "previous_hash": before.hash}
    after = replace(before, **{**sound, **change})
    return after if "hash" in change else replace(after, hash=hash_of(after))


async def why_unserved(log, stores=None, recovery_s=5) -> UnservedShard:
    """What an owner tells that tries to take the shard over, and does not."""
    async with running(log, stores or MemoryStateStores(), bounds=replace(BOUNDS, recovery_s=recovery_s)) as owner:
        async with asyncio.timeout(60):
            while not owner.unserved:
                assert owner.tenures == {}, "it goes on as if nothing were wrong"
                await asyncio.sleep(0.01)
        (told_of,) = owner.unserved
        assert owner.tenures == {}
    return told_of


@pytest.mark.parametrize("fate", [Fate.COMMITTED, Fate.ABORTED])
async def test_nothing_is_decided_before_a_predecessors_undecided_transaction_is(log, fate):
    """HAZARDS D2: what is behind an undecided transaction is invisible, and may be committed a moment later."""
    before = await one_target(log)
    transaction = log.storage.begin("a zombie")
    log.storage.append(TARGETS, encode_event(next_event(before)), transaction)
    async with running(log, MemoryStateStores()) as owner:
        command = retitle_target(title="newer", expected_version=2 if fate is Fate.COMMITTED else 1)
        await log.sender.send(command)
        assert await log.outcomes.wait(command.command_id, 0.3) is None
        assert owner.tenures == {}
        log.decide(transaction, fate)
        assert codes([await log.outcomes.wait(command.command_id, 60)]) == ["accepted"]
    versions = [event.version for event in await sound_events(log)]
    assert versions == ([1, 2, 3] if fate is Fate.COMMITTED else [1, 2])


async def test_behind_a_transaction_that_is_never_decided_nothing_is_served_and_that_is_told_in_the_time_allowed(log, caplog):
    before = await one_target(log)
    log.storage.append(TARGETS, encode_event(next_event(before)), log.storage.begin("a zombie"))
    assert await why_unserved(log, recovery_s=0.3) == UnservedShard(0, "not_read_in_time", Position("targets", 0, 2))
    assert "targets/0 was read up to 2 of 3 in the time allowed" in caplog.text


async def test_a_stop_during_recovery_is_obeyed(log):
    before = await one_target(log)
    log.storage.append(TARGETS, encode_event(next_event(before)), log.storage.begin("a zombie"))
    run = Running(owner_of(log, MemoryStateStores()))
    command = retitle_target()
    await log.sender.send(command)
    assert await log.outcomes.wait(command.command_id, 0.2) is None
    await asyncio.wait_for(run.stop(), 60)


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        ({"version": 3}, "version_gap", "has version 3 of target/web-01, which was at 1"),
        ({"version": 1}, "version_gap", "has version 1 of target/web-01, which was at 1"),
        ({"previous_hash": "0" * 64}, "hash_chain_broken", "breaks the hash chain of targets/0"),
        ({"hash": "f" * 64}, "hash_chain_broken", "breaks the hash chain of targets/0"),
        ({"type": "TargetPainted"}, "unknown_event", "cannot be read: TargetPainted in schema version 1"),
        ({"schema_version": 9}, "unknown_event", "cannot be read: TargetRetitled in schema version 9"),
        ({"payload": b'{"titel":"new"}'}, "unknown_event", "cannot be read"),
    ],
)
@pytest.mark.parametrize("from_snapshot", [True, False])
async def test_a_log_that_is_not_sound_is_not_served_and_the_position_is_named(log, change, reason, says, from_snapshot, caplog):
    stores = MemoryStateStores()
    before = await one_target(log, stores)
    at = log.put(TARGETS, encode_event(next_event(before, **change)))
    told_of = await why_unserved(log, stores if from_snapshot else None)
    assert told_of == UnservedShard(0, reason, Position("targets", 0, at))
    assert f"targets/0/{at}" in caplog.text
    assert says in caplog.text


async def test_a_record_that_is_no_event_stops_it_too(log, caplog):
    await one_target(log)
    at = log.put(TARGETS, WireRecord(b"target/web-01", b"\xff"))
    assert await why_unserved(log) == UnservedShard(0, "not_an_event", Position("targets", 0, at))
    assert f"the record at targets/0/{at} is no event" in caplog.text


async def test_a_sound_log_with_the_same_event_is_served(log):
    """The counterpart of the above: it is the changes that are refused."""
    before = await one_target(log)
    log.put(TARGETS, encode_event(next_event(before)))
    async with running(log, MemoryStateStores()):
        assert codes(await told(log, retitle_target(title="third", expected_version=2))) == ["accepted"]


async def test_a_log_that_ends_before_the_snapshot_is_not_served(log):
    stores = MemoryStateStores()
    await one_target(log, stores)
    assert (await why_unserved(MemoryLog(1), stores)).reason == "log_truncated"


async def test_events_missing_at_the_beginning_are_not_passed_over(log):
    async with running(log, MemoryStateStores()):
        await told(log, *[register_target(f"t-{n}") for n in range(5)])
    log.delete_before(TARGETS, 2)
    assert await why_unserved(log) == UnservedShard(0, "log_truncated", Position("targets", 0, 0))


async def test_outcomes_missing_at_the_beginning_are_only_forgotten(log):
    async with running(log, MemoryStateStores()):
        await told(log, *[register_target(f"t-{n}") for n in range(5)])
    (*_, last) = [record.position for record in await everything(log, [OUTCOMES])]
    log.delete_before(Partition(OUTCOMES, 0), last.offset)
    async with running(log, MemoryStateStores()) as owner:
        assert codes(await told(log, retitle_target("t-0"))) == ["accepted"]
    assert owner.counters.replayed_outcomes == 1


async def test_a_damaged_outcome_is_one_that_is_not_remembered(log):
    await one_target(log)
    log.put(Partition(OUTCOMES, 0), WireRecord(b"target/web-01", b"\xff"))
    async with running(log, MemoryStateStores()):
        assert codes(await told(log, retitle_target())) == ["accepted"]


async def test_a_long_recovery_saves_what_it_has_so_that_the_next_begins_there(log, monkeypatch):
    monkeypatch.setattr("commands.recovery.READ", 50)
    monkeypatch.setattr("commands.recovery.SAVE_EVERY", 100)
    async with running(log, MemoryStateStores(), bounds=replace(BOUNDS, batch=50)):
        await told(log, *[register_target(f"t-{n}") for n in range(400)])
    stores = MemoryStateStores()
    seen, real = 0, log.storage.committed

    def broken_off(partition, start):
        nonlocal seen
        for offset, record in real(partition, start):
            seen += partition.topic == "targets" and record is not None
            if seen > 300:
                raise LogTruncated("the test breaks it off")
            yield offset, record

    log.storage.committed = broken_off
    assert await why_unserved(log, stores) == UnservedShard(0, "log_truncated", None)
    log.storage.committed = real
    async with running(log, stores) as owner:
        assert codes(await told(log, retitle_target("t-0", expected_version=1))) == ["accepted"]
    assert 0 < owner.counters.replayed_events < 400

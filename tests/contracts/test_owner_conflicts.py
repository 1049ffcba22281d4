"""Many writers, one stream each version once: the owner on every adapter of the log."""

import asyncio
from dataclasses import replace
from itertools import count

from infra.memory.state_store import MemoryStateStores
from tests.commands.owning import BOUNDS, codes, everything, running, sound_events, told
from tests.support.builders import register_target, retitle_target

TARGETS = 10
CLIENTS = 100


async def contend(harness, log, commands: int) -> list:
    """Clients that each change some target at the version they last heard of, until so many commands were told; all outcomes."""
    heard = {f"t-{n}": 1 for n in range(TARGETS)}
    numbers = count()
    outcomes = []

    async def client(number):
        while (turn := next(numbers)) < commands:
            name = f"t-{(turn + number) % TARGETS}"
            command = retitle_target(name, f"title {turn}", expected_version=heard[name])
            await log.sender.send(command)
            outcome = await log.outcomes.wait(command.command_id, harness.patience_s)
            assert outcome is not None, "no outcome"
            if codes([outcome]) == ["accepted"]:
                heard[name] = max(heard[name], outcome.result.version)
            outcomes.append(outcome)

    await asyncio.gather(*[client(number) for number in range(CLIENTS)])
    return outcomes


async def test_ten_thousand_concurrent_conflicting_commands_double_and_skip_no_version(harness):
    log = await harness.open()
    commands = 10_000
    async with running(log, MemoryStateStores()):
        await told(log, *[register_target(f"t-{n}") for n in range(TARGETS)], within=harness.patience_s)
        outcomes = await contend(harness, log, commands)
    assert len(outcomes) == commands
    assert set(codes(outcomes)) == {"accepted", "version_conflict"}
    accepted = [outcome for outcome in outcomes if codes([outcome]) == ["accepted"]]
    events = await sound_events(log)
    assert len(events) == TARGETS + len(accepted)
    told_versions = {(outcome.stream, outcome.result.version) for outcome in accepted}
    assert told_versions == {(event.stream, event.version) for event in events if event.version > 1}
    assert {i for outcome in accepted for i in outcome.result.event_ids} <= {event.event_id for event in events}
    await log.close()


async def test_one_command_sent_fifty_times_at_once_appends_once_and_is_told_alike(harness):
    log = await harness.open()
    command = register_target()
    async with running(log, MemoryStateStores()) as owner:
        await asyncio.gather(*[log.sender.send(command) for _ in range(50)])
        (first,) = await told(log, command, within=harness.patience_s)
        await told(log, retitle_target(), within=harness.patience_s)
    events = await sound_events(log)
    assert [event.type for event in events] == ["TargetRegistered", "TargetRetitled"]
    kept = [record.body for record in await everything(log, ["outcomes"]) if record.body.command_id == command.command_id]
    assert kept == [first] * 51
    assert owner.counters.duplicates == 50
    await log.close()


async def test_a_batch_too_large_for_one_transaction_is_committed_in_parts(harness):
    log = await harness.open()
    commands = [register_target(f"t-{n}") for n in range(100)]
    for command in commands:
        await log.sender.send(command)
    async with running(log, MemoryStateStores(), bounds=replace(BOUNDS, transaction_bytes=20_000)) as owner:
        outcomes = [await log.outcomes.wait(command.command_id, harness.patience_s) for command in commands]
    assert codes(outcomes) == ["accepted"] * 100
    assert owner.counters.transactions >= 5
    assert (owner.counters.duplicates, owner.counters.ownership_lost, owner.counters.aborted) == (0, 0, 0)
    assert len(await sound_events(log)) == 100
    await log.close()

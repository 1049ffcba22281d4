"""What of a process that is stopped, or killed, in the middle of a transaction? Real processes, real signals."""

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.contracts.records import command
from tests.contracts.working import commit_all, read_to_end, take_all

pytestmark = [pytest.mark.services, pytest.mark.slow]

ROOT = Path(__file__).parents[3]
STEPS = ["send_offsets_to_transaction", "commit_transaction"]


class Victim:
    def __init__(self, settings, *given):
        given = [sys.executable, "-m", "tests.contracts.kafka.victim", json.dumps(asdict(settings)), *map(str, given)]
        self.process = subprocess.Popen(given, stdout=subprocess.PIPE, cwd=ROOT, text=True)

    async def says(self):
        return (await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), 40)).strip()

    async def end(self):
        self.process.kill()
        return (await asyncio.to_thread(self.process.communicate))[0].splitlines()


@pytest.mark.parametrize("step", STEPS)
async def test_a_zombie_stopped_in_a_transaction_and_woken_after_take_over_has_no_effect(log_on_kafka, step):
    log = await log_on_kafka.open()
    causes = [command(number) for number in range(4)]
    for cause in causes:
        await log.sender.send(cause)
    zombie = Victim(log_on_kafka.settings, step, int(signal.SIGSTOP))
    try:
        assert [await zombie.says(), await zombie.says()] == ["open", "reached"]
        heir = log.owned_shards("heir")
        taken = await take_all(log_on_kafka, heir, len(causes))
        zombie.process.send_signal(signal.SIGCONT)
        assert await zombie.says() == "OwnershipLost"
        await commit_all(heir, taken)
    finally:
        await zombie.end()
    told = [r.body for r in await read_to_end(log_on_kafka, log, "targets")]
    assert Counter(e.command_id for e in told) == {cause.command_id: 1 for cause in causes}
    assert all(e.payload != b'{"by": "victim"}' for e in told)


@pytest.mark.parametrize("step", STEPS)
async def test_of_a_transaction_cut_off_by_kill_9_nothing_is_visible_and_its_commands_are_decided_once(log_on_kafka, step):
    log = await log_on_kafka.open()
    cause = command()
    await log.sender.send(cause)
    victim = Victim(log_on_kafka.settings, step, int(signal.SIGKILL))
    try:
        assert [await victim.says(), await victim.says()] == ["open", "reached"]
    finally:
        await victim.end()
    restarted = log.owned_shards(log_on_kafka.settings.instance)
    taken = await take_all(log_on_kafka, restarted, 1)
    assert await read_to_end(log_on_kafka, log) == []
    await commit_all(restarted, taken)
    assert [r.body.command_id for r in await read_to_end(log_on_kafka, log, "targets")] == [cause.command_id]


async def test_a_transaction_that_times_out_while_its_process_stands_still_comes_to_nothing(log_on_kafka):
    """Longer than a transaction may take and shorter than a session: nobody takes over meanwhile."""
    log_on_kafka.settings = replace(log_on_kafka.settings, session_s=8)
    log = await log_on_kafka.open()
    cause = command()
    await log.sender.send(cause)
    victim = Victim(log_on_kafka.settings, "commit_transaction", int(signal.SIGSTOP))
    try:
        assert [await victim.says(), await victim.says()] == ["open", "reached"]
        assert await read_to_end(log_on_kafka, log) == [], "read to the end as soon as the brokers have given it up"
        victim.process.send_signal(signal.SIGCONT)
        assert await victim.says() in ("OwnershipLost", "CommitAborted")
    finally:
        await victim.end()
    restarted = log.owned_shards(log_on_kafka.settings.instance)
    await commit_all(restarted, await take_all(log_on_kafka, restarted, 1))
    told = [r.body for r in await read_to_end(log_on_kafka, log, "targets")]
    assert [(e.command_id, e.payload == b'{"by": "victim"}') for e in told] == [(cause.command_id, False)]


async def test_kill_9_at_random_instants_loses_nothing_acknowledged_and_doubles_nothing(log_on_kafka):
    log = await log_on_kafka.open()
    dice = random.Random(8)
    sent, said = [], []

    async def send_until(done):
        while not done.is_set():
            sent.append(command(len(sent) % 9))
            await log.sender.send(sent[-1])
            await asyncio.sleep(0.002)

    done = asyncio.Event()
    sending = asyncio.create_task(send_until(done))
    for _ in range(3):
        victim = Victim(log_on_kafka.settings)
        lines = [await victim.says(), await victim.says()]
        await asyncio.sleep(dice.uniform(0.05, 0.3))
        said += lines + await victim.end()
    done.set()
    await sending
    owner = log.owned_shards("after")
    deadline = asyncio.get_running_loop().time() + log_on_kafka.patience_s
    # Each shard is fetched by itself: that the last command sent has come says nothing of the others.
    while await decided_of(log_on_kafka, log) < {c.command_id for c in sent}:
        await commit_all(owner, await owner.take(500, 0.5))
        assert asyncio.get_running_loop().time() < deadline
    decided = {line.split()[1] for line in said if line.startswith("decided ") and len(line) == 44}
    told = Counter(str(r.body.command_id) for r in await read_to_end(log_on_kafka, log, "targets"))
    kept = Counter(str(r.body.command_id) for r in await read_to_end(log_on_kafka, log, "outcomes"))
    assert decided
    assert decided <= set(told), "an acknowledged event is lost"
    assert told == kept, "events and outcomes were torn apart"
    assert told == {str(c.command_id): 1 for c in sent}, "a command was lost or decided twice"


async def decided_of(harness, log):
    """The commands that have an event."""
    return {r.body.command_id for r in await read_to_end(harness, log, "targets")}

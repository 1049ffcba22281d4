"""Owners that come, go, are killed and fight: on every adapter nothing acknowledged is lost and nothing is doubled."""

import asyncio
from itertools import count

import pytest

from infra.memory.state_store import MemoryStateStores
from infra.sqlite.state_store import SqliteStateStores
from tests.commands.owning import Running, codes, owner_of, owner_with, running, sound_events, told
from tests.support.builders import register_target, retitle_target


class Load:
    """Clients that change targets without a pause and keep every outcome they were told."""

    def __init__(self, harness, log):
        self._harness, self._log = harness, log
        self._stop = asyncio.Event()
        self._numbers = count()
        self.told = []
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(10)]

    async def _client(self, number):
        await told(self._log, register_target(f"t-{number}"), within=self._harness.patience_s)
        while not self._stop.is_set():
            command = retitle_target(f"t-{number}", f"title {next(self._numbers)}")
            await self._log.sender.send(command)
            outcome = await self._log.outcomes.wait(command.command_id, self._harness.patience_s)
            assert outcome is not None, "a command was never told its outcome"
            self.told.append(outcome)

    async def go_on(self, commands):
        """Until so many more commands were told."""
        enough = len(self.told) + commands
        async with asyncio.timeout(self._harness.patience_s * 2):
            while len(self.told) < enough:
                await asyncio.sleep(0.01)
                failed = [task for task in self._tasks if task.done() and task.exception()]
                assert not failed, failed[0].exception()

    async def end(self):
        """Stop, and check that every accepted command's event is in the log under the version it was told."""
        self._stop.set()
        await asyncio.gather(*self._tasks)
        assert set(codes(self.told)) == {"accepted"}
        events = {event.event_id: event for event in await sound_events(self._log)}
        for outcome in self.told:
            (event_id,) = outcome.result.event_ids
            assert (events[event_id].stream, events[event_id].version) == (outcome.stream, outcome.result.version)
        assert len(events) == len(self.told) + 10


@pytest.fixture
async def log(harness):
    opened = await harness.open()
    yield opened
    await opened.close()


async def test_an_owner_killed_under_load_is_followed_by_another(harness, log):
    first = Running(owner_of(log, MemoryStateStores(), "one"))
    load = Load(harness, log)
    await load.go_on(50)
    await first.end()
    async with running(log, MemoryStateStores(), "two"):
        await load.go_on(50)
        await load.end()


async def test_a_zombie_that_does_not_know_it_was_replaced_commits_nothing_more(harness, log):
    owned = log.owned_shards("one")
    zombie = Running(owner_with(owned, log, MemoryStateStores()))
    load = Load(harness, log)
    await load.go_on(50)
    usurper = await harness.usurp(log, owned, "two")
    heir = Running(owner_with(usurper, log, MemoryStateStores()))
    await load.go_on(100)
    await zombie.stop()
    await load.go_on(50)
    await load.end()
    await heir.stop()


async def test_owners_that_come_and_go_all_the_time_lose_and_double_nothing(harness, log):
    load = Load(harness, log)
    stores = {name: MemoryStateStores() for name in ("one", "two")}
    standing = Running(owner_of(log, stores["one"], "one"))
    for turn in range(4):
        name = ("two", "one")[turn % 2]
        following = Running(owner_of(log, stores[name], name))
        await load.go_on(30)
        await (standing.stop() if turn % 2 else standing.end())
        standing = following
        await load.go_on(30)
    await load.end()
    await standing.stop()


async def test_everything_is_known_after_all_was_stopped_and_opened_again(harness, log, tmp_path):
    commands = [register_target(f"t-{n}") for n in range(20)]
    snapshots = SqliteStateStores(tmp_path / "state", "v1")
    async with running(log, snapshots):
        first = await told(log, *commands, within=harness.patience_s)
    reopened = await harness.reopen(log)
    async with running(reopened, snapshots) as owner:
        for command in commands:
            await reopened.sender.send(command)
        await told(reopened, *[retitle_target(f"t-{n}", expected_version=1) for n in range(20)], within=harness.patience_s)
    assert (owner.counters.duplicates, owner.counters.accepted, owner.counters.replayed_events) == (20, 20, 0)
    assert [await reopened.outcomes.find(command.command_id) for command in commands] == first
    assert len(await sound_events(reopened)) == 40
    await snapshots.close()
    await reopened.close()

"""Does a server that sees no owners notice where nothing comes of what it sent?"""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from api.waiting_shards import TOLD_AFTER_S, WaitingShards
from schemas.command_envelope import CommandEnvelope
from schemas.log import LogUnavailable
from schemas.outcome import Accepted, Outcome
from schemas.partitioning import shard_of
from tests.support.builders import register_target

SHARDS = 4


class Outcomes:
    def __init__(self) -> None:
        self.known: set[UUID] = set()
        self.is_away = False
        self.is_silent = False

    async def wait(self, command_id: UUID, within_s: float) -> bool | None:
        if self.is_silent:
            await asyncio.Event().wait()
        if self.is_away:
            raise LogUnavailable("away")
        return command_id in self.known or None


class World:
    def __init__(self) -> None:
        self.now = 1000.0
        self.outcomes = Outcomes()
        self.shards = WaitingShards(self.outcomes, SHARDS, lambda: self.now)  # type: ignore[arg-type]

    async def told(self) -> list[tuple[object, object]]:
        return [(one["shard"], one["waiting_s"]) for one in await self.shards.told()]


def command_of(shard: int) -> CommandEnvelope:
    return next(c for n in range(1000) if shard_of((c := register_target(f"t-{n}")).stream, SHARDS) == shard)


def decided(command: CommandEnvelope) -> tuple[CommandEnvelope, Outcome]:
    told = Outcome(
        command_id=command.command_id,
        stream=command.stream,
        type=command.type,
        actor=command.actor,
        fingerprint=command.fingerprint,
        correlation_id=command.correlation_id,
        time=command.time,
        result=Accepted(1),
    )
    return command, told


async def test_a_shard_is_told_once_a_command_has_waited_long_and_no_more_when_it_is_decided():
    world, command = World(), command_of(2)
    world.shards.not_heard(command)
    world.now += TOLD_AFTER_S - 0.1
    assert await world.told() == []
    world.now += 0.1
    assert await world.told() == [(2, TOLD_AFTER_S)]
    world.outcomes.known.add(command.command_id)
    assert await world.told() == []


async def test_each_shard_is_told_and_since_the_first_that_waits_there():
    world = World()
    for shard in (3, 1, 3, 3):
        world.shards.not_heard(command_of(shard))
        world.now += 10
    assert await world.told() == [(1, 30.0), (3, 40.0)]


async def test_when_the_first_was_decided_after_all_the_last_that_was_not_heard_of_counts():
    world = World()
    sent = [command_of(0) for _ in range(3)]
    for command in sent:
        world.shards.not_heard(command)
        world.now += 20
    world.outcomes.known |= {sent[0].command_id, sent[1].command_id}
    assert await world.told() == [(0, 20.0)]
    world.outcomes.known.add(sent[2].command_id)
    assert await world.told() == []


async def test_what_is_decided_of_a_shard_has_been_waited_for_by_nobody_whose_command_came_before():
    world = World()
    world.shards.not_heard(command_of(0))
    world.shards.not_heard(command_of(1))
    before = world.now - 1
    world.now += 30
    world.shards.heard(*decided(command_of(0)), before)
    assert await world.told() == [(0, 30.0), (1, 30.0)], "one that was sent before says nothing of what came after it"
    world.shards.heard(*decided(command_of(0)), world.now)
    assert await world.told() == [(1, 30.0)]


async def test_a_command_that_is_sent_again_and_answered_from_memory_says_nothing_of_those_that_wait():
    world = World()
    first, outcome = decided(command_of(0))
    world.shards.not_heard(command_of(0))
    world.now += 30
    again = replace(first, time=first.time + timedelta(minutes=5))
    world.shards.heard(again, outcome, world.now)
    assert await world.told() == [(0, 30.0)]


async def test_while_the_log_cannot_be_asked_what_waited_still_waits():
    world, command = World(), command_of(0)
    world.shards.not_heard(command)
    world.outcomes.known.add(command.command_id)
    world.outcomes.is_away = True
    world.now += 30
    assert await world.told() == [(0, 30.0)]


async def test_health_does_not_wait_for_a_log_that_says_nothing():
    world = World()
    world.shards.not_heard(command_of(0))
    world.outcomes.is_silent = True
    world.now += 30
    assert await asyncio.wait_for(world.told(), 30) == [(0, 30.0)]

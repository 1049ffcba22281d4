"""What a test does with a log again and again."""

import asyncio

from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.topics import EVENT_TOPICS, OUTCOMES
from tests.contracts.harness import from_start
from tests.contracts.records import event, outcome


async def take_some(harness, owner, limit=100):
    """The next batch that holds a command."""
    deadline = asyncio.get_running_loop().time() + harness.patience_s
    while not (taken := await owner.take(limit, 0.2)).commands:
        assert asyncio.get_running_loop().time() < deadline, "no command was handed out"
    return taken


async def take_all(harness, owner, count):
    """A batch with `count` commands: what was handed out before they had all arrived is given back."""
    deadline = asyncio.get_running_loop().time() + harness.patience_s
    while len((taken := await owner.take(count, 0.2)).commands) < count:
        await owner.abandon(taken)
        assert asyncio.get_running_loop().time() < deadline, f"never {count} commands in one batch"
    return taken


async def commit_all(owner, taken):
    """One event and one outcome for each command of the batch."""
    causes = [taken_command.body for taken_command in taken.commands]
    return await owner.commit(taken, [event(cause) for cause in causes], [outcome(cause) for cause in causes])


async def decide(harness, log, *commands):
    """Send the commands and have an owner decide them; the owner, which stays open."""
    for each in commands:
        await log.sender.send(each)
    owner = log.owned_shards("decides")
    decided = 0
    while decided < len(commands):
        taken = await take_some(harness, owner)
        await commit_all(owner, taken)
        decided += len(taken.commands)
    return owner


async def read_to_end(harness, log, *topics):
    """Everything that is committed in the topics (all events and outcomes unless said), up to their ends as of now."""
    start = {}
    for topic in topics or (*EVENT_TOPICS, OUTCOMES):
        start |= from_start(topic, log.reader.shards)
    ends = await log.reader.ends(list(start))
    return await read_until(harness, await log.reader.feed(start), ends)


async def read_until(harness, feed, ends):
    """What a feed hands out until it has reached `ends`."""
    deadline = asyncio.get_running_loop().time() + harness.patience_s
    found = []
    while any(feed.positions[partition] < end for partition, end in ends.items()):
        found += await feed.read(1000, 0.1)
        assert asyncio.get_running_loop().time() < deadline, f"the feed stays at {feed.positions}, the ends are {ends}"
    await feed.close()
    return found


def events_of(harness, cause):
    """The partition that holds the events of a target's stream."""
    return Partition("targets", shard_of(cause.stream, harness.shards))

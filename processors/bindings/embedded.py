"""How does the executor get its events when it lives in the process that holds the log? By one asyncio feed.

The feed begins at the log's end: whatever was there before is brought by the executor's sweep, as is anything this misses.
"""

from collections.abc import Awaitable, Callable

from processors.delivery import Sleep
from schemas.event_envelope import EventEnvelope
from schemas.log import EventReader, Feed, LogTruncated, LogUnavailable
from schemas.position import Partition

TOPICS = ("runs", "targets")
BATCH = 500
READ_WITHIN_S = 1.0
PAUSE_S = 0.5

Offer = Callable[[EventEnvelope], Awaitable[None]]


async def feed_events(reader: EventReader, offer: Offer, sleep: Sleep) -> None:
    """Offer every event of runs and targets from now on, until cancelled."""
    partitions = [Partition(topic, shard) for topic in TOPICS for shard in range(reader.shards)]
    while True:
        try:
            feed = await reader.feed(await reader.ends(partitions))
            await _pass_on(feed, offer)
        except (LogUnavailable, LogTruncated):
            await sleep(PAUSE_S)  # begun again at the end; the sweep brings what was missed


async def _pass_on(feed: Feed, offer: Offer) -> None:
    try:
        while True:
            for record in await feed.read(BATCH, READ_WITHIN_S):
                if isinstance(record.body, EventEnvelope):
                    await offer(record.body)
    finally:
        await feed.close()

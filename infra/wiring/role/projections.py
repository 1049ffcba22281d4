"""Who keeps the read models up to date?"""

import asyncio
from collections.abc import Callable

from infra.sql.read_store import SqlReadStore
from infra.wiring.composition import House
from infra.wiring.supervise import until_stopped
from projections.follow import Follower


async def projections_role(house: House, following: Callable[[Follower], None], stop: asyncio.Event) -> None:
    """Keep the read models up to date."""
    store = SqlReadStore(house.writer)
    follower = Follower(house.log.reader, store, house.wakeups)
    following(follower)
    try:
        await until_stopped(follower.run(), stop)
    finally:
        await store.close()

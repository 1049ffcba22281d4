"""Who keeps the read models up to date?"""

import asyncio

from infra.kafka.undecided import Undecided
from infra.sql.read_store import SqlReadStore
from infra.wiring.composition import House, kafka_settings
from infra.wiring.supervise import until_stopped
from infra.wiring.told import Told
from projections.follow import Follower


async def projections_role(house: House, told: Told, stop: asyncio.Event) -> None:
    """Keep the read models up to date; look whether an undecided transaction keeps anything from them."""
    store = SqlReadStore(house.writer)
    follower = Follower(house.log.reader, store, house.wakeups)
    told.gets_on_but_for(lambda: follower.trouble)
    looking = None if house.settings.is_embedded else asyncio.create_task(_looking(house, told))
    try:
        await until_stopped(follower.run(), stop)
    finally:
        if looking is not None:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        await store.close()


async def _looking(house: House, told: Told) -> None:
    undecided = Undecided(kafka_settings(house.settings))
    meaning = "Seconds for which a partition's readers have waited for one and the same undecided transaction, the longest"
    told.gets_on_but_for(lambda: undecided.trouble)
    told.measures("opsconductor_log_undecided_seconds", meaning, lambda: undecided.longest_s)
    await undecided.watch()

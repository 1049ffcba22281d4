"""Who decides? The owner of some shards, with snapshots of its own."""

import asyncio

from commands.owner import Bounds, Owner, Ports
from commands.state_form import fingerprint
from infra.sqlite.state_store import SqliteStateStores
from infra.wiring.composition import House
from infra.wiring.told import Told
from infra.wiring.version import VERSION


async def commands_role(house: House, told: Told, stop: asyncio.Event) -> None:
    """Own shards and decide."""
    settings = house.settings
    stores = SqliteStateStores(settings.home / "state" / settings.instance_name, fingerprint(VERSION))
    ports = Ports(
        log=house.log.owned_shards(settings.instance_name),
        reader=house.log.reader,
        stores=stores,
        sleep=asyncio.sleep,
        monotonic=house.clock.monotonic,
    )
    owner = Owner(ports, Bounds())
    told.owns(owner)
    try:
        await owner.run(stop)
    finally:
        await stores.close()

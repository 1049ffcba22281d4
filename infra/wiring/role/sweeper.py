"""Who ends the claims of silent executors, and keeps the vault's house?"""

import asyncio

from infra.sql.inventory import SqlInventory
from infra.wiring.composition import House
from infra.wiring.supervise import until_stopped
from infra.wiring.told import Told
from infra.wiring.vault_keeping import keep_vault
from processors.sweeper.runtime import SweeperPorts, SweeperRuntime


async def sweeper_role(house: House, told: Told, stop: asyncio.Event) -> None:
    """End the claims of silent executors; keep the vault's house."""
    inventory = SqlInventory(house.reader)
    ports = SweeperPorts(
        sender=house.log.sender,
        records=house.log.records,
        reader=house.log.reader,
        inventory=inventory,
        clock=house.clock,
        sleep=asyncio.sleep,
    )
    runtime = SweeperRuntime(house.settings.lease_s, ports)
    told.gets_on_but_for(lambda: runtime.trouble)
    keeping = asyncio.create_task(keep_vault(house))
    try:
        await until_stopped(runtime.run(), stop)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        inventory.close()

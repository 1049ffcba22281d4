"""Who does the steps of runs, and how does it hear of them?"""

import asyncio
import logging

from infra.sql.inventory import SqlInventory
from infra.ssh.connector import SshConnector
from infra.ssh.settings import SshSettings
from infra.wiring.composition import House, kafka_settings
from infra.wiring.told import Told
from processors.bindings.embedded import feed_events
from processors.executor.core import Limits
from processors.executor.runtime import ExecutorPorts, ExecutorRuntime, ExecutorSettings

log = logging.getLogger(__name__)

EXECUTOR_GRACE_S = 8.0


async def executor_role(house: House, told: Told, stop: asyncio.Event) -> None:
    """Do the steps of runs."""
    settings = house.settings
    connector = SshConnector(SshSettings(threads=settings.max_connections))
    inventory = SqlInventory(house.reader)
    runtime = ExecutorRuntime(
        ExecutorSettings(
            executor=f"{settings.instance_name}-{house.ids.new_id()}",
            lease_s=settings.lease_s,
            grace_s=EXECUTOR_GRACE_S,
            limits=Limits(steps=settings.max_connections),
        ),
        ExecutorPorts(
            sender=house.log.sender,
            outcomes=house.log.outcomes,
            records=house.log.records,
            shards=house.log.reader.shards,
            inventory=inventory,
            vault=house.vault,
            connector=connector,
            clock=house.clock,
            sleep=asyncio.sleep,
            crashed=_crashed,
        ),
    )
    told.gets_on_but_for(lambda: runtime.trouble)
    events = asyncio.create_task(_bound(house, runtime, told))
    working = asyncio.create_task(runtime.run())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({events, working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if events.done():
            events.result()
        runtime.stop()
        await working
    finally:
        for task in (events, working, stopping):
            task.cancel()
        await asyncio.gather(events, working, stopping, return_exceptions=True)
        await connector.close()
        inventory.close()


def _crashed(what: str, error: Exception) -> None:
    # Only the kind of error: its message may hold what a step was given.
    log.error("unforeseen error", extra={"doing": what, "error": type(error).__name__})


async def _bound(house: House, runtime: ExecutorRuntime, told: Told) -> None:
    if house.settings.is_embedded:
        await feed_events(house.log.reader, runtime.offer, asyncio.sleep)
        return
    from processors.bindings.faust import FaustBinding, FaustSettings  # an embedded server needs nothing of it

    kafka = kafka_settings(house.settings)
    faust = FaustSettings(
        bootstrap=kafka.bootstrap, prefix=kafka.prefix, shards=kafka.partitions, group=f"{kafka.prefix}-executor"
    )
    binding = FaustBinding(faust, runtime.offer, house.log.reader)
    told.gets_on_but_for(lambda: binding.trouble)
    await binding.run(house.clock, asyncio.sleep)

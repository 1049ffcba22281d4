"""What does each role do? One function a role, made from the house; none knows whether the others run in this process."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import uvicorn

from api.app import create_app
from api.cors import origins
from api.identity_provider import IdentityProvider
from api.kept_keys import load_keys
from api.ports import ApiDependencies, ApiSettings, Drain
from api.signing_keys import READ_EVERY_S, load_signing_keys, refresh
from api.tokens import Tokens
from commands.owner import Bounds, Owner, Ports
from commands.state_form import fingerprint
from infra.sql.inventory import SqlInventory
from infra.sql.read_store import SqlReadStore
from infra.sqlite.state_store import SqliteStateStores
from infra.ssh.connector import SshConnector
from infra.ssh.settings import SshSettings
from infra.telemetry.bounded_http import BoundedHttp
from infra.telemetry.certificate import Certificate
from infra.telemetry.serving import serve_until
from infra.vaults.master_key import derived
from infra.wiring.composition import House, kafka_settings
from infra.wiring.first_administrator import ensure_first_administrator
from infra.wiring.identity_provider import identity_provider
from infra.wiring.supervise import until_stopped
from infra.wiring.vault_keeping import keep_vault
from infra.wiring.version import VERSION
from processors.bindings.embedded import feed_events
from processors.bindings.faust import FaustBinding, FaustSettings
from processors.executor.core import Limits
from processors.executor.runtime import ExecutorPorts, ExecutorRuntime, ExecutorSettings
from processors.sweeper.runtime import SweeperPorts, SweeperRuntime
from projections.follow import Follower
from projections.rebuild import ask_for_rebuild

log = logging.getLogger(__name__)

API_THREADS = 10
EXECUTOR_GRACE_S = 8.0
MAX_HEADERS = 32_768


async def commands_role(house: House, counters: Callable[[Owner], None], stop: asyncio.Event) -> None:
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
    counters(owner)
    try:
        await owner.run(stop)
    finally:
        await stores.close()


async def projections_role(house: House, following: Callable[[Follower], None], stop: asyncio.Event) -> None:
    """Keep the read models up to date."""
    store = SqlReadStore(house.writer)
    follower = Follower(house.log.reader, store, house.wakeups)
    following(follower)
    try:
        await until_stopped(follower.run(), stop)
    finally:
        await store.close()


async def executor_role(house: House, stop: asyncio.Event) -> None:
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
    events = asyncio.create_task(_bound(house, runtime))
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


async def _bound(house: House, runtime: ExecutorRuntime) -> None:
    if house.settings.is_embedded:
        await feed_events(house.log.reader, runtime.offer, asyncio.sleep)
        return
    kafka = kafka_settings(house.settings)
    faust = FaustSettings(
        bootstrap=kafka.bootstrap, prefix=kafka.prefix, shards=kafka.partitions, group=f"{kafka.prefix}-executor"
    )
    await FaustBinding(faust, runtime.offer, house.log.reader).run(house.clock, asyncio.sleep)


async def sweeper_role(house: House, stop: asyncio.Event) -> None:
    """End the claims of silent executors; keep the vault's house."""
    inventory = SqlInventory(house.reader)
    ports = SweeperPorts(
        sender=house.log.sender,
        reader=house.log.reader,
        inventory=inventory,
        clock=house.clock,
        sleep=asyncio.sleep,
    )
    keeping = asyncio.create_task(keep_vault(house))
    try:
        await until_stopped(SweeperRuntime(house.settings.lease_s, ports).run(), stop)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        inventory.close()


async def api_role(house: House, told: Callable[[str], None], stop: asyncio.Event) -> None:
    """Serve the REST contract; make the first administrator of a new installation. `told` gets what people should read."""
    drain = Drain()
    threads = ThreadPoolExecutor(API_THREADS, thread_name_prefix="api")
    provider = identity_provider(house.settings)
    given = await _api_dependencies(house, threads, drain, provider)
    certificate = Certificate(*house.settings.tls) if house.settings.tls else None
    host, port = house.settings.listen_address
    config = uvicorn.Config(
        create_app(given),
        host=host,
        port=port,
        http=BoundedHttp,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MAX_HEADERS,
        timeout_graceful_shutdown=8,
        ssl_context_factory=certificate.context_for if certificate else None,
    )
    first = asyncio.create_task(ensure_first_administrator(house, given, told))
    beside = [first, asyncio.create_task(_drain(drain, stop)), asyncio.create_task(_read_signing_keys(given))]
    if certificate:
        beside.append(asyncio.create_task(certificate.watch()))
    try:
        await serve_until(config, stop)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        if provider:
            await provider.close()
        threads.shutdown(wait=False, cancel_futures=True)


async def _read_signing_keys(given: ApiDependencies) -> None:
    """Learn again and again of keys that another process made or took away."""
    while True:
        await asyncio.sleep(READ_EVERY_S)
        await refresh(given.tokens, given.vault)


async def _drain(drain: Drain, stop: asyncio.Event) -> None:
    await stop.wait()
    drain.stopping = True


async def _api_dependencies(
    house: House, threads: ThreadPoolExecutor, drain: Drain, provider: IdentityProvider | None
) -> ApiDependencies:
    return ApiDependencies(
        sender=house.log.sender,
        outcomes=house.log.outcomes,
        reader=house.log.reader,
        engine=house.reader,
        vault=house.vault,
        sessions=house.sessions,
        attempts=house.attempts,
        limits=house.limits,
        wakeups=house.wakeups,
        clock=house.clock,
        ids=house.ids,
        keys=await load_keys(house.vault, house.ids, _derived_before(house)),
        tokens=Tokens(*await load_signing_keys(house.vault, house.ids)),
        threads=threads,
        rebuild=partial(_rebuild, house, threads),
        provider=provider,
        drain=drain,
        settings=ApiSettings(
            outcome_wait_s=house.settings.outcome_wait_s,
            trusted_proxies=house.settings.proxies,
            cors_origins=origins(house.settings.cors_origins),
        ),
    )


def _derived_before(house: House) -> Callable[[str], bytes] | None:
    """What the API's keys were in an installation from before the vault kept them."""
    first = house.ring.masters.get(1) if house.ring else None
    return partial(derived, first) if first is not None else None


async def _rebuild(house: House, threads: ThreadPoolExecutor, name: str) -> bool:
    def asked() -> bool:
        with house.writer.begin() as connection:
            return ask_for_rebuild(connection, name)

    return await asyncio.get_running_loop().run_in_executor(threads, asked)

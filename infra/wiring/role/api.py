"""Who serves the REST contract, over which connections, and with which keys?"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

import uvicorn

from api.app import create_app
from api.cors import origins
from api.identity_provider import IdentityProvider
from api.kept_keys import load_keys
from api.ports import ApiDependencies, ApiKeys, ApiSettings, Drain
from api.signing_keys import READ_EVERY_S, load_signing_keys, refresh
from api.tokens import SigningKey, Tokens
from infra.telemetry.bounded_http import BoundedHttp
from infra.telemetry.certificate import Certificate
from infra.telemetry.serving import port_of, serve_on
from infra.vaults.master_key import derived
from infra.wiring.composition import House
from infra.wiring.console import Console
from infra.wiring.first_administrator import ensure_first_administrator, url_of
from infra.wiring.identity_provider import identity_provider
from infra.wiring.settings import Settings
from infra.wiring.told import Told
from projections.rebuild import ask_for_rebuild
from schemas.vault import VaultError

T = TypeVar("T")

API_THREADS = 10
MAX_HEADERS = 32_768
SAFE_REPLICATION = 3
VAULT_WITHIN_S = 30.0
"""So long a start waits for a vault that does not answer, as when its database is started at the same moment."""

_IN_THE_CLEAR = (
    "warning: other machines' passwords and tokens can be read on the way: give OPSCONDUCTOR_TLS_CERT and OPSCONDUCTOR_TLS_KEY,"
    " or put a gateway with TLS in front and name it in OPSCONDUCTOR_TRUSTED_PROXIES"
)

log = logging.getLogger(__name__)


async def api_role(house: House, told: Told, console: Console, sockets: Sequence[socket.socket], stop: asyncio.Event) -> None:
    """Serve the REST contract on these sockets; make the first administrator of a new installation.

    The console is told what people should read. Raises `CannotListen` and what opening the vault raises.
    """
    drain = Drain()
    threads = ThreadPoolExecutor(API_THREADS, thread_name_prefix="api")
    provider = identity_provider(house.settings)
    given = replace(await _api_dependencies(house, threads, drain, provider, stop), unserved=told.unserved)
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
    url = url_of(house.settings, port_of(sockets))
    first = asyncio.create_task(ensure_first_administrator(house, given, url, console))
    beside = [first, asyncio.create_task(_drain(drain, stop)), asyncio.create_task(_read_signing_keys(given))]
    if certificate:
        beside.append(asyncio.create_task(certificate.watch()))
    try:
        await serve_on(sockets, config, partial(_say_where, house.settings, port_of(sockets), console), stop)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        if provider:
            await provider.close()
        threads.shutdown(wait=False, cancel_futures=True)


def _say_where(settings: Settings, port: int, console: Console) -> None:
    host = settings.listen.rpartition(":")[0] or settings.listen_address[0]
    console.say(f"listening on http{'s' if settings.tls else ''}://{host}:{port} (data in {settings.home})")
    if settings.is_in_the_clear:
        console.say(_IN_THE_CLEAR)


async def _read_signing_keys(given: ApiDependencies) -> None:
    """Learn again and again of keys that another process made or took away."""
    while True:
        await asyncio.sleep(READ_EVERY_S)
        await refresh(given.tokens, given.vault)


async def _drain(drain: Drain, stop: asyncio.Event) -> None:
    await stop.wait()
    drain.stopping = True


async def _api_dependencies(
    house: House, threads: ThreadPoolExecutor, drain: Drain, provider: IdentityProvider | None, stop: asyncio.Event
) -> ApiDependencies:
    async def kept() -> tuple[ApiKeys, Sequence[SigningKey]]:
        keys = await load_keys(house.vault, house.ids, _derived_before(house))
        return keys, await load_signing_keys(house.vault, house.ids)

    keys, signing_keys = await answered(kept, stop)
    return ApiDependencies(
        sender=house.log.sender,
        outcomes=house.log.outcomes,
        reader=house.log.reader,
        engine=house.reader,
        vault=house.vault,
        sessions=house.sessions,
        sign_in_limit=house.sign_in_limit,
        limits=house.limits,
        wakeups=house.wakeups,
        clock=house.clock,
        ids=house.ids,
        keys=keys,
        tokens=Tokens(*signing_keys),
        threads=threads,
        rebuild=partial(_rebuild, house, threads),
        provider=provider,
        drain=drain,
        settings=ApiSettings(
            outcome_wait_s=house.settings.outcome_wait_s,
            trusted_proxies=house.settings.proxies,
            cors_origins=origins(house.settings.cors_origins),
            warnings=warnings_of(house.settings),
        ),
    )


def warnings_of(settings: Settings) -> tuple[str, ...]:
    """What the log would not survive as it is set up (HAZARDS R19)."""
    if settings.is_embedded or settings.log_replication >= SAFE_REPLICATION:
        return ()
    count = settings.log_replication
    replicas = "1 replica" if count == 1 else f"{count} replicas"
    return (f"not durable against broker loss: the log has {replicas}, {SAFE_REPLICATION} survive one",)


async def answered(ask: Callable[[], Awaitable[T]], stop: asyncio.Event, every_s: float = 0.5) -> T:
    """What the vault answers, asked again until it does or `stop` is set. Raises `VaultError` after `VAULT_WITHIN_S`."""
    deadline = asyncio.get_running_loop().time() + VAULT_WITHIN_S
    while True:
        try:
            return await ask()
        except VaultError as error:
            if stop.is_set() or asyncio.get_running_loop().time() > deadline:
                raise VaultError(f"the vault does not answer: {error}") from error
            log.warning("the vault does not answer yet", extra={"error": str(error)})
        await asyncio.sleep(every_s)


def _derived_before(house: House) -> Callable[[str], bytes] | None:
    """What the API's keys were in an installation from before the vault kept them."""
    first = house.ring.masters.get(1) if house.ring else None
    return partial(derived, first) if first is not None else None


async def _rebuild(house: House, threads: ThreadPoolExecutor, name: str) -> bool:
    def asked() -> bool:
        with house.writer.begin() as connection:
            return ask_for_rebuild(connection, name)

    return await asyncio.get_running_loop().run_in_executor(threads, asked)

"""How does one process start with its role, or with all of them, and with which status does it end?"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from types import ModuleType

from infra.kafka.topics import TopicsDiffer
from infra.kafka.verdict import InstanceInUse
from infra.telemetry.certificate import Certificate
from infra.telemetry.logs import set_up_logs
from infra.telemetry.probe import serve_probe
from infra.telemetry.serving import bound
from infra.vaults.kv_vault import BadVaultAddress
from infra.vaults.master_key import BadMasterKey
from infra.wiring.addresses import address
from infra.wiring.beforehand import import_what_streams, make_adapters
from infra.wiring.composition import DatabaseUnavailable, House, VaultLost, house
from infra.wiring.console import Console
from infra.wiring.garbage import look_seldom
from infra.wiring.identity_provider import provider_rules
from infra.wiring.misconfigured import MISCONFIGURED, WrongSetting
from infra.wiring.settings import Settings, settings_given, unknown_settings
from infra.wiring.supervise import STOP_WITHIN_S, Role, RoleFailed, end_by_force, run_roles
from infra.wiring.told import Told
from schemas.log import LogError

FAILED, WRONG_USAGE = 1, 2
_ENDS_WITHIN_S = 4.0

EVERY = ("api", "executor", "sweeper", "commands", "projections")
"""The roles of `up`."""


_CONSOLE = Console()
_say = _CONSOLE.say


def _module(name: str) -> ModuleType:
    """Where a role is; no other one's is imported."""
    return import_module(f"infra.wiring.role.{name}")


def _role(name: str, opened: House, told: Told, sockets: Sequence[socket.socket]) -> Role:
    role: Callable[..., Awaitable[None]] = getattr(_module(name), f"{name}_role")
    return partial(role, opened, told, _CONSOLE, sockets) if name == "api" else partial(role, opened, told)


def _chosen(name: str) -> tuple[str, ...]:
    return EVERY if name == "up" else (name,)


def _roles_of(name: str, opened: House, told: Told, sockets: Sequence[socket.socket]) -> Mapping[str, Role]:
    chosen = {one: _role(one, opened, told, sockets) for one in _chosen(name)}
    if not opened.settings.metrics_listen:
        return chosen
    listen = address(opened.settings.metrics_listen)

    async def probe(stop: asyncio.Event) -> None:
        await serve_probe(listen, told.unready, told.unserved, told.registry, stop)

    return {**chosen, "probe": probe}


async def _run(name: str, settings: Settings) -> None:
    told = Told()
    async with house(settings) as opened:
        with ExitStack() as stack:
            # Before any role begins: where the address is taken, none did anything.
            sockets = stack.enter_context(bound(*settings.listen_address)) if "api" in _chosen(name) else ()
            # The probe takes no time. What asyncio waits for after the roles is within these seconds, too.
            within_s = STOP_WITHIN_S * len(_chosen(name)) + _ENDS_WITHIN_S
            await run_roles(_roles_of(name, opened, told, sockets), stopping=partial(end_by_force, within_s, FAILED))


def start(name: str) -> None:
    """Run one role, or all with `up`, until a signal; the exit status says whether it ended well."""
    try:
        settings = settings_given()
        provider_rules(settings)
        if settings.tls:
            Certificate(*settings.tls)  # one that cannot be used is a wrong setting, too
    except (WrongSetting, ValueError, OSError) as wrong:
        _say(f"wrong setting: {wrong}")
        raise SystemExit(MISCONFIGURED) from None
    if unknown := unknown_settings(os.environ):
        _say(f"warning: no such setting, it is ignored: {', '.join(unknown)}")
    set_up_logs(settings.log_level, name)
    if name == "up" and not settings.is_embedded:
        _say("`up` runs everything in one process on the embedded log; with Kafka start one process a role")
        raise SystemExit(WRONG_USAGE)
    if name != "up" and settings.is_embedded:
        _say(f"the role {name} needs a log on Kafka: set OPSCONDUCTOR_LOG_URL=kafka://…; or run `opsconductor up`")
        raise SystemExit(WRONG_USAGE)
    for one in _chosen(name):
        _module(one)
    make_adapters()
    if "api" in _chosen(name):
        import_what_streams()
    look_seldom()  # after all that is there for good
    try:
        asyncio.run(_run(name, settings))
    except (InstanceInUse, TopicsDiffer, BadMasterKey, BadVaultAddress, VaultLost) as wrong:
        _say(str(wrong))
        raise SystemExit(MISCONFIGURED) from None
    except (LogError, DatabaseUnavailable, RoleFailed, OSError) as failed:
        _say(f"{name} cannot run: {failed}")
        status = MISCONFIGURED if isinstance(failed.__cause__, InstanceInUse) else FAILED
        raise SystemExit(status) from None

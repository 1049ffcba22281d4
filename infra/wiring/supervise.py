"""What runs together in one process, and how does it stop?

Every role gets one stop event. A role that ends by itself or with an error stops the whole process with a non-zero status: a
supervisor outside restarts it, and state comes from the log.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

log = logging.getLogger(__name__)

Role = Callable[[asyncio.Event], Awaitable[None]]

STOP_WITHIN_S = 15.0


class RoleFailed(Exception):
    """A role ended though nobody asked it to."""


async def run_roles(roles: Mapping[str, Role], stop: asyncio.Event | None = None) -> None:
    """Run roles until a signal (or `stop`) ends them all, or one fails. Raises `RoleFailed`; stops within `STOP_WITHIN_S`."""
    stop = stop or asyncio.Event()
    _stop_on_signals(stop)
    tasks: dict[asyncio.Task[Any], str] = {
        asyncio.create_task(_named(name, role, stop), name=name): name for name, role in roles.items()
    }
    waiter: asyncio.Task[Any] = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({waiter, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    early = [tasks[task] for task in done if task in tasks]
    asked = stop.is_set()
    stop.set()
    _, late = await asyncio.wait(tasks, timeout=STOP_WITHIN_S)
    for task in late:
        log.error("role did not stop in time", extra={"role": tasks[task]})
        task.cancel()
    await asyncio.gather(waiter, *tasks, return_exceptions=True)
    failures = [task.exception() for task in tasks if not task.cancelled() and task.exception()]
    if failures:
        raise RoleFailed(str(failures[0])) from failures[0]
    if early and not asked:
        raise RoleFailed(f"{early[0]} ended")


async def _named(name: str, role: Role, stop: asyncio.Event) -> None:
    try:
        await role(stop)
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("role failed", extra={"role": name})
        raise


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

"""What runs together in one process, and how does it stop?

Roles stop one after the other, in the order in which they are given: who asks others for something stops before those others. A
role that ends by itself or with an error stops the whole process with a non-zero status: a supervisor outside restarts it, and
state comes from the log.
"""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from infra.telemetry.serving import CannotListen

log = logging.getLogger(__name__)

Role = Callable[[asyncio.Event], Awaitable[None]]

STOP_WITHIN_S = 20.0
_SAID_WITHIN_S = 1.0


class RoleFailed(Exception):
    """A role ended though nobody asked it to."""


def _nothing() -> None:
    """Whoever runs roles need not know when they begin to stop."""


async def run_roles(
    roles: Mapping[str, Role], stop: asyncio.Event | None = None, stopping: Callable[[], None] = _nothing
) -> None:
    """Run roles until a signal (or `stop`) ends them all, or one fails; each within `STOP_WITHIN_S`. Raises `RoleFailed`.

    `stopping` is called as soon as they are to end, for whatever reason.
    """
    stop = stop or asyncio.Event()
    _stop_on_signals(stop)
    stops = {name: asyncio.Event() for name in roles}
    tasks = {name: asyncio.create_task(_named(name, role, stops[name]), name=name) for name, role in roles.items()}
    waiter = asyncio.create_task(stop.wait())
    await asyncio.wait({waiter, *tasks.values()}, return_when=asyncio.FIRST_COMPLETED)
    stopping()
    early = None if stop.is_set() else next(name for name, task in tasks.items() if task.done())
    waiter.cancel()
    for name, task in tasks.items():
        await _stop(name, task, stops[name])
    if early is not None:
        failure = tasks[early].exception()
        raise RoleFailed(f"{early} ended" + (f": {failure}" if failure else "")) from failure


def end_by_force(after_s: float, status: int) -> None:
    """End this process in so many seconds with this status, unless it has ended by then.

    A role that is cancelled may wait for ever all the same, as for a thread of a library that died: nobody would start it again.
    """

    def end() -> None:
        said = threading.Thread(target=log.error, args=("the process does not end, and is ended by force",), daemon=True)
        said.start()
        said.join(_SAID_WITHIN_S)  # whoever should read it may have stopped reading: that must not keep us
        os._exit(status)

    timer = threading.Timer(after_s, end)
    timer.daemon = True
    timer.start()


async def _stop(name: str, task: asyncio.Task[None], stop: asyncio.Event) -> None:
    stop.set()
    await asyncio.wait({task}, timeout=STOP_WITHIN_S)
    if not task.done():
        log.error("role did not stop in time", extra={"stopping": name})
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _named(name: str, role: Role, stop: asyncio.Event) -> None:
    try:
        await role(stop)
    except (asyncio.CancelledError, CannotListen):
        raise  # the latter says all there is to say
    except Exception:
        log.exception("role failed", extra={"failed": name})
        raise


async def until_stopped(work: Awaitable[Any], stop: asyncio.Event) -> None:
    """Run what goes on for ever until `stop` is set, then cancel it. Raises what `work` raises."""
    running = asyncio.ensure_future(work)
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        running.result()
        return
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def stop_signals() -> tuple[signal.Signals, ...]:
    """What ends this process in order: Ctrl-C, being told to, the end of its terminal unless it is to outlive that (nohup)."""
    outlives = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM) if outlives else (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in stop_signals():
        loop.add_signal_handler(number, stop.set)

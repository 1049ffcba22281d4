"""How does the executor reach targets over SSH? Asyncio outside, a bounded number of threads and pooled connections inside."""

import asyncio
import time
from collections.abc import Callable

from infra.ssh.opening import Opened, Opener, told_of
from infra.ssh.pool import Pool, key_of
from infra.ssh.settings import SshSettings
from infra.ssh.step import Machinery, StepRun, Stopper
from infra.ssh.threads import Threads, Work
from processors.executor.connector import (
    Cancellation,
    Ending,
    Endpoint,
    Invocation,
    Killed,
    Login,
    OutputSink,
    Reached,
    Unreachable,
)

_CLOSES_WITHIN_S = 3.0


class SshConnector:
    """Implements `Connector`. Every call ends within its bounds (`SshSettings`), whatever a target does:

    run      (connecting and its retries) + the step's time-out + its confirmation; beyond `threads` steps at once it also
             waits for a free thread; cancelled before the step was sent, at once
    check    one connection
    close    a few seconds; steps that still run end as `Unconfirmed`, and their processes die with the connection
    """

    def __init__(self, settings: SshSettings | None = None) -> None:
        self._settings = settings or SshSettings()
        self._machinery = Machinery(self._settings, Opener(self._settings), Pool(self._settings))
        self._threads = Threads(self._settings.threads, "ops-ssh")
        self._closed = False

    @property
    def open_connections(self) -> int:
        """How many connections the pool holds."""
        return self._machinery.pool.size

    async def run(self, endpoint: Endpoint, login: Login, step: Invocation, sink: OutputSink, cancelled: Cancellation) -> Ending:
        """Run one step. Raises `Unreachable` if nothing was started, ValueError for a name or mark that must not be sent."""
        if cancelled.is_set():
            return Killed("cancelled")
        stopper = Stopper()
        work = self._submitted(StepRun(self._machinery, endpoint, login, step, sink, stopper).to_its_end)

        def stop() -> None:
            # what still connects has sent nothing and will not: nobody has to wait for a silent target to be given up
            if (stopper.stop() or work.cancel()) and not work.result.done():
                work.result.set_result(Killed("cancelled"))

        with cancelled.calls(stop):
            try:
                ending: Ending = await work.result
            finally:
                # reached by a cancelled task too: the step must not outlive the call that asked for it
                stopper.stop()
                work.cancel()
        return ending

    async def check(self, endpoint: Endpoint, login: Login) -> Reached:
        """Connect and log in afresh, run nothing. Raises `Unreachable`."""
        reached: Reached = await self._submitted(lambda: self._reached(endpoint, login)).result
        return reached

    async def close(self) -> None:
        """End every step, connection and thread, within a few seconds."""
        self._closed = True
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._machinery.pool.close()
        self._threads.close(_CLOSES_WITHIN_S)

    def _submitted(self, work: Callable[[], object]) -> Work:
        if self._closed:
            raise Unreachable("connect_failed", "the connector is closed")
        return self._threads.submit(work)

    def _reached(self, endpoint: Endpoint, login: Login) -> Reached:
        began = time.monotonic()
        opened = self._opened(endpoint, login)
        if isinstance(opened, Unreachable):
            raise told_of(endpoint, login, opened)
        try:
            return Reached(time.monotonic() - began, _negotiated(opened))
        finally:
            opened.close()

    def _opened(self, endpoint: Endpoint, login: Login) -> Opened | Unreachable:
        machinery = self._machinery
        try:
            return machinery.pool.opened_patiently(
                key_of(endpoint, login), lambda: machinery.opener.open(endpoint, login), Stopper().stopped
            )
        except Unreachable as failed:
            return failed


def _negotiated(opened: Opened) -> dict[str, str]:
    transport = opened.transport
    key = transport.get_remote_server_key()
    return {
        "server": transport.remote_version,
        "kex": transport.agreed_kex,
        "cipher": transport.remote_cipher,
        "strict_kex": "yes" if transport.agreed_on_strict_kex else "no",
        "host_key": f"{key.get_name()} {key.get_base64()}",
    }

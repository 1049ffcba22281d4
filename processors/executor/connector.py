"""What does the executor ask of a way to reach targets? Implemented by `infra.ssh` (and by a simulated fleet in tests).

Unreachable            nothing was started on the target; `code` says why
Exited                 the step ended by itself
Killed                 we ended it, and it is confirmed dead
Unconfirmed            it was started, and what became of it is not known: the step is `lost`
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from schemas.run_output import StreamName

OutputSink = Callable[[StreamName, bytes], None]
"""Takes what a step writes, in the order it was read. Called from one thread at a time; returns at once; never raises."""

Shell = Literal["sh", "bash", "python", "powershell"]


class Cancellation(asyncio.Event):
    """Asks a step to end, once it is set.

    Who does something else meanwhile can be called instead of having a task wait for it: a thousand steps would need a thousand
    tasks that come to nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[Callable[[], object]] = []

    def set(self) -> None:
        """Ask for the end, and call who wants to be called."""
        super().set()
        calls, self._calls = self._calls, []
        for call in calls:
            call()

    @contextmanager
    def calls(self, call: Callable[[], object]) -> Iterator[None]:
        """Within the block `call` is called when it is set. Not when it is set already: ask before."""
        self._calls.append(call)
        try:
            yield
        finally:
            if call in self._calls:
                self._calls.remove(call)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a target answers and how we know it is the one: `host_key` is the pinned key (`ssh-ed25519 AAAA…`) or None."""

    target: str
    host: str
    port: int
    host_key: str | None


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """What opens the target, in clear, for the time of a connection. Has no repr: it must never reach a log or a traceback.

    `fingerprint` names credential and revision (`deploy-key@2`): a pooled connection is shared only under the same one.
    """

    fingerprint: str
    username: str
    password: str | None = None
    private_key: str | None = None
    passphrase: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Invocation:
    """One step on one target: the script, the shell that reads it and its environment. Has no repr: values may be secret.

    `mark` is unique to run, step, target and attempt, and safe in a shell word. `timeout_s` counts from the start of the step.
    """

    shell: Shell
    script: str
    environment: Mapping[str, str]
    timeout_s: float
    mark: str


class Unreachable(Exception):
    """Nothing was started on the target.

    Codes: `connect_failed`, `connect_timed_out`, `host_key_changed`, `host_key_not_pinned`, `authentication_failed`,
    `no_common_algorithm`, `too_many_connections`, `shell_not_found`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True, slots=True)
class Exited:
    """The step ended by itself; a death by signal n is 128 + n. `note` says what was unusual (a background child left)."""

    exit_code: int
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Killed:
    """We ended the step's whole process group and it is confirmed dead."""

    why: Literal["cancelled", "timed_out"]


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """The step was started and what became of it is not known."""

    message: str


Ending = Exited | Killed | Unconfirmed


@dataclass(frozen=True, slots=True)
class Reached:
    """A check that got through to a log-in: how long it took (seconds) and what was negotiated (algorithms, server version)."""

    seconds: float
    details: Mapping[str, str]


class Connector(Protocol):
    """Runs steps on targets; pools connections; every call ends within its stated bound, whatever the target does."""

    async def run(self, endpoint: Endpoint, login: Login, step: Invocation, sink: OutputSink, cancelled: Cancellation) -> Ending:
        """Run one step to its end, or kill it when `cancelled` is set or its time is over. Raises `Unreachable`."""
        ...

    async def check(self, endpoint: Endpoint, login: Login) -> Reached:
        """Connect and log in afresh, run nothing. Raises `Unreachable`."""
        ...

    async def close(self) -> None:
        """Close every pooled connection."""
        ...

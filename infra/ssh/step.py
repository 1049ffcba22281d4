"""How does one step run to its end? Start it, hand on what it writes, and end it when its time is over or it is cancelled.

1. lease a connection, open a channel, send the payload: whatever fails here, nothing was started, and another connection may
   be tried;
2. once the payload has left, the step may run: a connection that is lost from here on makes it `Unconfirmed`;
3. the step's own greeting opens its output; what the log-in shell wrote before is not the step's;
4. it ends by itself (`Exited`), or we end its input and confirm on another channel that nothing of it lives (`Killed`).
"""

import threading
import time
from dataclasses import dataclass, field
from typing import Literal

from infra.ssh.command import Broken, Refused, RemoteCommand
from infra.ssh.confirmation import Traces, Verdict, verdict
from infra.ssh.greeting import Greeting
from infra.ssh.opening import Opened, Opener, told_of
from infra.ssh.payload import Payload, payload
from infra.ssh.pool import Key, Lease, Pool, key_of
from infra.ssh.remote import RUN_STEP
from infra.ssh.settings import SshSettings
from processors.executor.connector import (
    Ending,
    Endpoint,
    Exited,
    Invocation,
    Killed,
    Login,
    OutputSink,
    Unconfirmed,
    Unreachable,
)

_CONNECTIONS_TRIED = 6
_GREETING_GRACE_S = 5.0

Stop = Literal["cancelled", "timed_out"]


class Stopper:
    """How the asyncio side ends a step that a thread is running: `stop` wakes whatever that thread waits for."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._sending = False
        self._command: RemoteCommand | None = None

    def watch(self, command: RemoteCommand) -> None:
        """Name the command to wake."""
        self._command = command

    def may_send(self) -> bool:
        """Whether the step may be sent now; False once it is stopped."""
        with self._lock:
            self._sending = self._sending or not self.stopped.is_set()
            return not self.stopped.is_set()

    def stop(self) -> bool:
        """Ask for the end; may be called more than once. True when nothing was sent, so that nothing ever will be."""
        with self._lock:
            self.stopped.set()
        command = self._command
        if command is not None:
            command.inbox.set()
        return not self._sending


class _NotSent(Exception):
    """The step was stopped before it was sent."""


@dataclass(frozen=True, slots=True)
class Machinery:
    """What all steps of a connector share."""

    settings: SshSettings
    opener: Opener
    pool: Pool


@dataclass(slots=True, repr=False)
class StepRun:
    """One step on its way. Has no repr: it holds secrets."""

    machinery: Machinery
    endpoint: Endpoint
    login: Login
    step: Invocation
    sink: OutputSink
    stopper: Stopper
    _greeting: Greeting = field(init=False)

    def to_its_end(self) -> Ending:
        """Run it. Raises `Unreachable` if nothing was started, ValueError for a step that must not be sent."""
        self._greeting = Greeting(self.step.mark)
        body = payload(self.step)
        if self.stopper.stopped.is_set():
            return Killed("cancelled")
        try:
            lease, command = self._begun(body)
        except _NotSent:
            return Killed("cancelled")
        except Unreachable:
            if self.stopper.stopped.is_set():
                return Killed("cancelled")
            raise
        broken = False
        try:
            ending = self._followed(command, time.monotonic() + self.step.timeout_s)
            if isinstance(ending, str):
                ending, broken = self._killed(lease, command, ending)
            return ending
        finally:
            command.close()
            self.machinery.pool.give_back(lease, broken=broken)

    def _begun(self, body: Payload) -> tuple[Lease, RemoteCommand]:
        """The payload has left entirely, or nothing was started."""
        failure = Unreachable("connect_failed", f"{self.endpoint.target}: no connection lasted")
        for _ in range(_CONNECTIONS_TRIED):
            lease = self._leased()
            if isinstance(lease, Unreachable):
                failure = told_of(self.endpoint, self.login, lease)
                break
            try:
                return lease, self._sent(lease, body)
            except _NotSent:
                self.machinery.pool.give_back(lease)
                raise
            except Refused:
                self.machinery.pool.full(lease)
                failure = Unreachable("too_many_connections", f"{self.endpoint.target} opens no further session")
            except Broken as error:
                self.machinery.pool.give_back(lease, broken=True)
                failure = Unreachable("connect_failed", f"{self.endpoint.target}: {error}")
        raise failure

    def _leased(self) -> Lease | Unreachable:
        """A failure is given back: raised in its own handler it would bring along frames that hold the log-in."""
        try:
            return self.machinery.pool.lease(self._key, self._open, self.stopper.stopped)
        except Unreachable as failed:
            return failed

    def _sent(self, lease: Lease, body: Payload) -> RemoteCommand:
        command = RemoteCommand(lease.opened.transport, self.machinery.settings.answer_timeout_s)
        try:
            command.start(RUN_STEP)
            self.stopper.watch(command)
            if not self.stopper.may_send():
                raise _NotSent
            command.send(body.data)
            self.machinery.pool.has_channel(lease)
        except (Refused, Broken, _NotSent):
            command.close()
            raise
        return command

    def _followed(self, command: RemoteCommand, deadline: float) -> Ending | Stop:
        """Hand on output until the step has ended, or must be."""
        while True:
            closed, code = command.closed, command.exit_code  # in this order: a status comes before the end of its channel
            self._hand_on(command)
            if code is not None:
                return self._exited(command, code)
            if closed:
                return Unconfirmed("the connection was lost while the step ran")
            if self.stopper.stopped.is_set():
                return "cancelled"
            left = deadline - time.monotonic()
            if left <= 0:
                return "timed_out"
            command.inbox.wait(left)

    def _hand_on(self, command: RemoteCommand) -> bool:
        chunks = command.take()
        for stream, data in chunks:
            own = self._greeting.strip(data) if stream == "stdout" else data
            if own:
                self.sink(stream, own)
        return bool(chunks)

    def _exited(self, command: RemoteCommand, code: int) -> Ending:
        """The step has ended; what it wrote may still be on its way, and a child of it may hold the streams open."""
        settings = self.machinery.settings
        bound = time.monotonic() + settings.quiet_bound_s
        quiet_from = time.monotonic()
        while not command.over and time.monotonic() < min(bound, quiet_from + settings.quiet_s):
            command.inbox.wait(min(bound, quiet_from + settings.quiet_s) - time.monotonic())
            if self._hand_on(command):
                quiet_from = time.monotonic()
        left_behind = not command.over
        self._hand_on(command)
        if self._greeting.traces is None:
            raise Unreachable("shell_not_found", self._no_shell(code))
        return Exited(code, "a background process was left running and holds the output open" if left_behind else None)

    def _no_shell(self, code: int) -> str:
        said = self._greeting.noise[:200].decode(errors="replace").strip()
        return f"{self.endpoint.target} runs no {self.step.shell} (exit code {code})" + (f": {said}" if said else "")

    def _killed(self, lease: Lease, command: RemoteCommand, why: Stop) -> tuple[Ending, bool]:
        """The ending, and whether the connection is no good any more.

        The end of its input makes the watcher end the group. The channel stays open until then: a step that cleans up may write,
        and would die of a closed pipe.
        """
        grace = time.monotonic() + _GREETING_GRACE_S
        while self._greeting.traces is None and not command.over and time.monotonic() < grace:
            command.inbox.wait(grace - time.monotonic())
            self._hand_on(command)
        traces = self._greeting.traces
        if traces is None and command.exit_code is not None:
            return Killed(why), False  # it had never begun
        if traces is None:
            return Unconfirmed("the target did not say whether the step has begun"), not command.over
        said = self._said(lease.opened, traces, command)
        broken = said == "no_answer"
        if said in ("no_room", "no_answer"):
            said = self._said_elsewhere(traces, command)
        self._hand_on(command)
        if said == "gone":
            return Killed(why), broken
        return Unconfirmed("the step was told to end, and its end could not be confirmed"), broken

    def _said(self, opened: Opened, traces: Traces, command: RemoteCommand) -> Verdict:
        try:
            command.end_input()
        except Broken:
            return "no_answer"
        return verdict(opened.transport, traces, self.machinery.settings, lambda: self._hand_on(command))

    def _said_elsewhere(self, traces: Traces, command: RemoteCommand) -> Verdict:
        """The verdict over a connection of its own."""
        try:
            opened = self.machinery.pool.opened_patiently(self._key, self._open, threading.Event())
        except Unreachable:
            return "no_answer"
        try:
            return self._said(opened, traces, command)
        finally:
            opened.close()

    @property
    def _key(self) -> Key:
        return key_of(self.endpoint, self.login)

    def _open(self) -> Opened:
        return self.machinery.opener.open(self.endpoint, self.login)

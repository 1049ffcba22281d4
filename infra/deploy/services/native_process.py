"""How is a server process started, awaited and ended?"""

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

_LOG_TAIL_BYTES = 2000


class ServiceFailed(Exception):
    """A server could not be started; the message carries the end of its log."""


class ServiceUnavailable(ServiceFailed):
    """What the server needs is not installed here; the message says what."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on right now, and that this process was not given lately.

    The system lends such a port to no outgoing connection: it stays free until a server takes it, also while that server is
    started again. Raises `ServiceFailed` when none is left.
    """
    for port in itertools.islice(_PORTS, _SPAN):
        if _is_free(port):
            return port
    raise ServiceFailed("no port of 127.0.0.1 is free")


_SPAN = 8_000
"""So many ports are taken in turn."""


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _never_lent() -> Iterator[int]:
    """The ports below those that the system lends to outgoing connections, round and round from anywhere."""
    try:
        lent_from = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        lent_from = 32_768
    lowest = max(1_024, lent_from - _SPAN)
    ports = range(lowest, max(lent_from, lowest + 1_000))
    start = random.randrange(len(ports))
    return itertools.cycle([*ports[start:], *ports[:start]])


_PORTS = _never_lent()


def listens(port: int) -> bool:
    """Does anybody accept connections on this port of 127.0.0.1?"""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def program(name: str, *folders: str) -> str:
    """The path of a program, on the search path or in one of the folders. Raises `ServiceUnavailable`."""
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise ServiceUnavailable(f"{name} is not installed")
    return found


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot: with its pid it names one process for good. None when it has ended.

    Where there is no /proc the pid alone has to do and every living process says 0.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else int(fields[19])
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return 0


def tied_to_us(command: Sequence[str], with_signal: signal.Signals = signal.SIGKILL) -> list[str]:
    """The command so that it is killed when we die, or ended by another signal, however we die, where the system can do that."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", with_signal.name.removeprefix("SIG"), "--", *command] if setpriv else list(command)


def open_log(file: Path) -> BinaryIO:
    """A log to be written on at its end, for its owner's eyes only; so is one from before."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "ab")


def children_of(pid: int) -> list[int]:
    """The children of a process, as far as the system tells."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _end_child(pid: int, started: int | None) -> None:
    """Kill a process unless its number has gone to another one, and wait until it has ended (a second at most)."""
    deadline = time.monotonic() + 1
    while started is not None and start_ticks(pid) == started and time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


@dataclass(kw_only=True)
class NativeService(ABC):
    """One server in its own process.

    `home` holds its data and its log. `tied` servers die with the process that started them; the others go on until they are
    stopped by pid. After `stop` or `kill9` the same object may be started again, on the same port and data.
    """

    home: Path
    tied: bool = True
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """What people call this server; also its log's name."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Where clients find it."""

    @abstractmethod
    def prepare(self) -> None:
        """Bring data folder and configuration to where `command` can start. May be called again."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program and its arguments; must become the server itself (exec), not a parent of it."""

    @abstractmethod
    def ready(self) -> bool:
        """Does it answer?"""

    def environment(self) -> Mapping[str, str]:
        """The environment of the server's process."""
        return os.environ

    @property
    def pid(self) -> int:
        """The server's process id. Raises `ServiceFailed` when it was never started."""
        if self._process is None:
            raise ServiceFailed(f"{self.name} was not started")
        return self._process.pid

    @property
    def log(self) -> Path:
        """What the server wrote."""
        return self.home / f"{self.name}.log"

    def has_ended(self) -> bool:
        """Was it started, and does it run no more?"""
        return self._process is not None and self._process.poll() is not None

    def start(self, within_s: float = 60.0) -> Self:
        """Start and wait until it answers. Raises `ServiceFailed` with the end of its log."""
        self.launch()
        self.await_ready(within_s)
        return self

    def launch(self) -> None:
        """Start without waiting, so that several servers come up side by side."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.prepare()
        command = tied_to_us(self.command()) if self.tied else list(self.command())
        with open_log(self.log) as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env=dict(self.environment()),
                cwd="/",
            )

    def await_ready(self, within_s: float = 60.0) -> None:
        """Wait until it answers. Raises `ServiceFailed` with the end of its log."""
        deadline = time.monotonic() + within_s
        while not self.ready():
            assert self._process is not None
            if self._process.poll() is not None:
                raise ServiceFailed(f"{self.name} ended with {self._process.returncode}: {self.log_end()}")
            if time.monotonic() > deadline:
                self.kill9()
                raise ServiceFailed(f"{self.name} did not answer within {within_s:g} s: {self.log_end()}")
            time.sleep(0.05)

    def log_end(self) -> str:
        """The last lines the server wrote."""
        with contextlib.suppress(OSError):
            return self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
        return ""

    def stop(self, within_s: float = 20.0) -> None:
        """End in order; after `within_s` seconds by force. Nothing happens when it does not run."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(self.stop_signal())
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill9()

    def stop_signal(self) -> signal.Signals:
        """The signal that ends the server in order."""
        return signal.SIGTERM

    def kill9(self) -> None:
        """End at once, as a crash would; children of the server included, and nothing of it is left when this returns.

        Postgres' children lead process groups of their own, and while one of them lives a new server finds its memory in use.
        """
        if self._process is None or self._process.poll() is not None:
            return
        children = {child: start_ticks(child) for child in children_of(self._process.pid)}
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for child, started in children.items():
            _end_child(child, started)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

"""A server and a connector for the SSH contract, and a short way to run a step."""

import asyncio
import itertools
import os
import threading
from dataclasses import dataclass, field

import pytest

from infra.ssh.connector import SshConnector
from infra.ssh.remote import SMALL
from infra.ssh.settings import SshSettings
from processors.executor.connector import Cancellation, Ending, Invocation
from tests.contracts.ssh.server import SSHD, Server

_MARKS = itertools.count(1)
_US = os.getpid()  # other test processes look for their marks on the same machine

PADDING = "\n# " + "x" * SMALL
"""Makes a shell script so long that it goes by a pipe: its interpreter is another process than the leader then."""

both_ways = pytest.mark.parametrize("padding", ["", PADDING], ids=["in a variable", "by a pipe"])


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/contracts/ssh/" in str(item.path):
            item.add_marker(pytest.mark.services)


@pytest.fixture(scope="session")
def server():
    """One server that tests leave as they found it."""
    if SSHD is None:
        if os.environ.get("CI"):
            pytest.fail("sshd is needed")
        pytest.skip("no sshd on this machine")
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def own_server(server):
    """Makes servers that belong to one test."""
    made = []

    def make(*settings, **other):
        made.append(Server(*settings, **other))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
async def connector():
    connector = SshConnector()
    yield connector
    await connector.close()


@pytest.fixture
async def connect():
    """Makes connectors with settings of their own; closed at the end."""
    made = []

    def make(**settings):
        made.append(SshConnector(SshSettings(**settings)))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@dataclass
class Recorder:
    """A sink that keeps everything, and tells when something has come."""

    chunks: list[tuple[str, bytes]] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)

    def __call__(self, stream: str, data: bytes) -> None:
        self.chunks.append((stream, data))
        self.came.set()

    def of(self, stream: str) -> bytes:
        return b"".join(data for one, data in self.chunks if one == stream)

    @property
    def stdout(self) -> bytes:
        return self.of("stdout")

    @property
    def stderr(self) -> bytes:
        return self.of("stderr")

    async def until(self, part: bytes, within: float = 60.0) -> bytes:
        """stdout, once it holds `part`."""
        async with asyncio.timeout(within):
            while part not in self.stdout:
                await asyncio.sleep(0.01)
        return self.stdout


def invocation(script: str, shell: str = "sh", timeout_s: float = 60.0, **environment: str) -> Invocation:
    return Invocation(shell=shell, script=script, environment=environment, timeout_s=timeout_s, mark=f"run{_US}.{next(_MARKS)}-1")


@dataclass
class Step:
    """A step under way in a task."""

    task: asyncio.Task
    sink: Recorder
    cancelled: Cancellation
    mark: str

    async def ending(self) -> Ending:
        return await self.task


@pytest.fixture
async def begin(server, connector):
    """Starts a step in a task: `begin(invocation, server=…, connector=…, login=…, endpoint=…)`."""
    tasks = []
    default_server, default_connector = server, connector

    def start(step, *, server=None, connector=None, login=None, endpoint=None):
        where = server or default_server
        sink, cancelled = Recorder(), Cancellation()
        run = (connector or default_connector).run(endpoint or where.endpoint(), login or where.login(), step, sink, cancelled)
        tasks.append(asyncio.ensure_future(run))
        return Step(tasks[-1], sink, cancelled, step.mark)

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def run(begin):
    """Runs a step to its end: its ending and what it wrote."""

    async def to_its_end(step, **where):
        begun = begin(step, **where)
        return await begun.ending(), begun.sink

    return to_its_end

"""How does an HTTP server run inside a process that has more to do? As an object in our loop; signals stay ours."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import uvicorn

_NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class _ListeningSocket(socket.socket):
    """Says once that there is no descriptor for another connection, and then that nobody waits.

    asyncio takes as many connections at once as may wait. Without a descriptor left each of these thousands of tries would be
    logged and begin listening anew a second later, each again: the process would do nothing else.
    """

    _told = False

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection. Raises `BlockingIOError` where nobody waits, `OSError`."""
        if self._told:
            self._told = False
            raise BlockingIOError(errno.EAGAIN, "told a moment ago")
        try:
            return super().accept()
        except OSError as failed:
            self._told = failed.errno in _NONE_LEFT
            raise


class CannotListen(OSError):
    """The address cannot be listened on, as when another process does."""


class _QuietServer(uvicorn.Server):
    """A server that leaves signal handlers alone (the process stops all its roles together) and says when it is there."""

    def __init__(self, config: uvicorn.Config, listens: Callable[[], None]) -> None:
        super().__init__(config)
        self._listens = listens

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._listens()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


async def serve_until(config: uvicorn.Config, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then let requests in flight end. Raises `CannotListen`."""
    with bound(config.host, config.port) as sockets:
        await serve_on(sockets, config, lambda: None, stop)


async def serve_on(
    sockets: Sequence[socket.socket], config: uvicorn.Config, listens: Callable[[], None], stop: asyncio.Event
) -> None:
    """The same on sockets that are bound; `listens` is called once callers are answered. Raises `CannotListen`."""
    for one in sockets:
        try:  # here and not by the server: another process may have bound the address too, and listen on it by now
            one.listen(config.backlog)
        except OSError as failed:
            raise _cannot(config.host, config.port, failed) from None
    server = _QuietServer(config, listens)
    serving = asyncio.create_task(server.serve(list(sockets)))
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    waiting.cancel()
    await serving


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[list[socket.socket]]:
    """A socket for each address of the host, closed at the end. Raises `CannotListen`."""
    with contextlib.ExitStack() as stack:
        listening: list[socket.socket] = []
        try:
            found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, protocol, _, where in dict.fromkeys(found):
                one = stack.enter_context(_ListeningSocket(family, kind, protocol))
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.bind((where[0], port_of(listening) if listening else where[1], *where[2:]))
                listening.append(one)
        except OSError as failed:
            raise _cannot(host, port, failed) from None
        yield listening


def port_of(sockets: Sequence[socket.socket]) -> int:
    """The port that these sockets share; the system chose it where 0 was asked for."""
    port: int = sockets[0].getsockname()[1]
    return port


def _cannot(host: str, port: int, failed: OSError) -> CannotListen:
    return CannotListen(f"cannot listen on {host}:{port}: {failed.strerror or failed}")

"""How does an HTTP server run inside a process that has more to do? As an object in our loop; signals stay ours."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
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


class _QuietServer(uvicorn.Server):
    """A server that leaves signal handlers alone: the process stops all its roles together."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


async def serve_until(config: uvicorn.Config, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then let requests in flight end. Raises `OSError` when it cannot listen."""
    server = _QuietServer(config)
    serving = asyncio.create_task(server.serve(_bound(config.host, config.port)))
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    waiting.cancel()
    await serving


def _bound(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of the host."""
    listening: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, where in dict.fromkeys(found):
            listening.append(_ListeningSocket(family, kind, protocol))
            listening[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening[-1].bind(where)
    except OSError as failed:
        for one in listening:
            one.close()
        raise OSError(f"cannot listen on {host}:{port}: {failed}") from failed
    return listening

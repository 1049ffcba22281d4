"""How does a Redis server run on this machine?"""

import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from infra.deploy.services.native_process import NativeService, program


@dataclass(kw_only=True)
class RedisServer(NativeService):
    """Redis without persistence: it may lose everything at any time, the truth is elsewhere."""

    @property
    def name(self) -> str:
        """`redis`."""
        return "redis"

    @property
    def address(self) -> str:
        """The URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Nothing to prepare."""

    def command(self) -> Sequence[str]:
        """The server in the foreground."""
        settings = {"bind": "127.0.0.1", "port": str(self.port), "save": "", "appendonly": "no", "dir": str(self.home)}
        return [program("redis-server"), *(part for name, value in settings.items() for part in (f"--{name}", value))]

    def ready(self) -> bool:
        """It answers PING."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as link:
            link.sendall(b"PING\r\n")
            return link.recv(5) == b"+PONG"
        return False

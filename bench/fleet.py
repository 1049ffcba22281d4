"""Where do a hundred SSH targets come from? Loopback addresses of their own, behind a few sshd processes with the same keys.

Each has its own address, so nobody gets away with one connection for several targets.
"""

import contextlib
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from infra.deploy.services.native_process import free_port
from infra.deploy.services.sshd import SshServer

_ADDRESSES_A_SERVER = 16
"""OpenSSH listens on no more."""


@dataclass(kw_only=True)
class _Addressed(SshServer):
    """An sshd on some addresses of 127.0.0.0/8."""

    addresses: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        super().prepare()
        settings = self.home / "sshd.conf"
        listen = "\n".join(f"ListenAddress {address}" for address in self.addresses)
        # A log-in shell reads the profile of whoever runs the bench: what that does is nobody's speed.
        told = settings.read_text().replace("ListenAddress 127.0.0.1", listen) + f"SetEnv HOME={self.home}\n"
        settings.write_text(told)

    def ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.addresses[0], self.port)) == 0


@dataclass(frozen=True, slots=True)
class Fleet:
    """The targets' addresses, all on one port, and how to log in."""

    addresses: list[str]
    port: int
    user: str
    private_key: str
    host_key: str
    key_file: Path
    known_hosts: Path


@contextlib.contextmanager
def fleet(folder: Path, count: int) -> Iterator[Fleet]:
    """So many targets, for as long as the block lasts."""
    addresses = [f"127.0.1.{n}" for n in range(1, count + 1)]
    port = free_port()
    with contextlib.ExitStack() as stack:
        first: _Addressed | None = None
        for number, start in enumerate(range(0, count, _ADDRESSES_A_SERVER)):
            home = folder / f"sshd-{number}"
            home.mkdir(parents=True)
            if first is not None:
                for name in ("host", "host.pub", "user", "user.pub"):
                    shutil.copy(first.home / name, home / name)
            server = _Addressed(home=home, port=port, addresses=addresses[start : start + _ADDRESSES_A_SERVER])
            stack.enter_context(server)
            first = first or server
        assert first is not None
        known = folder / "known_hosts"
        known.write_text("".join(f"[{address}]:{port} {first.host_key}\n" for address in addresses))
        yield Fleet(addresses, port, first.user, first.private_key, first.host_key, first.home / "user", known)

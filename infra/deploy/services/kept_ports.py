"""Where does a server listen that is started again in the same folder? Where it did before, unless somebody else does by now."""

import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path

from infra.deploy.services.native_process import free_port

_FILE = "ports.json"


class KeptPorts:
    """The ports of a folder's servers by name: whoever wrote such an address down, as a target does, finds the server again."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        """`say` is told where a port had to change."""
        self._file, self._say = folder / _FILE, say
        self._kept = _read(self._file)

    def of(self, name: str) -> int:
        """The port of this server; kept from now on."""
        kept = self._kept.get(name)
        if kept is None or not _may_be_listened_on(kept):
            self._kept[name] = self._another()
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps(self._kept, indent=1))
            if kept is not None:
                self._say(f"{name}: its port {kept} is taken; from now on it has {self._kept[name]}")
        return self._kept[name]

    def _another(self) -> int:
        """None that another server of the folder, not started yet, is to have."""
        while (port := free_port()) in self._kept.values():
            pass
        return port


def _read(file: Path) -> dict[str, int]:
    """What an earlier start kept; nothing where the file was never written, or torn."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        found = dict(json.loads(file.read_text()))
        return {str(name): port for name, port in found.items() if isinstance(port, int) and 0 < port < 65_536}
    return {}


def _may_be_listened_on(port: int) -> bool:
    """As a server would try: connections of its predecessor that are still winding down are in nobody's way."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        probe.listen()
        return True
    return False

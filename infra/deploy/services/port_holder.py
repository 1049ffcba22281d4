"""Who listens on a port of this machine? As far as the system tells us."""

import contextlib
from pathlib import Path

_LISTENS = "0A"


def holder_of(port: int) -> str:
    """`pid 4711, redis-server`; empty where it cannot be found out, as for another account's process or without /proc."""
    wanted = {f"socket:[{inode}]" for inode in _listening(port)}
    if not wanted:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(_link(file) in wanted for file in (process / "fd").iterdir()):
                return f"pid {process.name}, {(process / 'comm').read_text().strip()}"
    return ""


def _listening(port: int) -> list[str]:
    """The inodes of the sockets that listen on this port."""
    found = []
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    found.append(fields[9])
    return found


def _link(file: Path) -> str:
    with contextlib.suppress(OSError):
        return str(file.readlink())
    return ""

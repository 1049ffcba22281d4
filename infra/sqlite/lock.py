"""Who else uses this folder?

One process writes to a folder's log (HAZARDS D8, R50). The lock is `flock` on a file of its own: the kernel drops it with the
process, however that ends, so no stale lock can stay behind. The file's content, the holder's pid, is only for people.
"""

import ctypes
import fcntl
import os
from pathlib import Path

from schemas.log import LogError

LOCK_FILE = "lock"

_NETWORK = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x01021997: "9P",
    0x5346414F: "AFS",
    0x00C36400: "Ceph",
}
"""`statfs` magic numbers (linux/magic.h) of file systems whose locks and shared memory SQLite's WAL cannot use."""


class FolderInUse(LogError):
    """Another process holds the folder; `pid` is what it wrote into the lock file, or 0 when that cannot be read."""

    def __init__(self, folder: Path, pid: int) -> None:
        super().__init__(f"{folder} is in use by process {pid or '(unknown)'}; one process at a time can write to it")
        self.pid = pid


class FolderUnsuitable(LogError):
    """The folder cannot hold a log."""


class FolderLock:
    """The right to write in a folder, held until `release` or the end of the process."""

    def __init__(self, folder: Path) -> None:
        """Take the lock. Raises `FolderInUse` naming the holder's pid."""
        self._file = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            written = os.pread(self._file, 32, 0).strip()
            os.close(self._file)
            raise FolderInUse(folder, int(written) if written.isdigit() else 0) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let others in. Releasing again does nothing: by then the number may be another file's."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def refuse_network_file_system(folder: Path) -> None:
    """Raise `FolderUnsuitable` when `folder` lies on a network file system."""
    if name := _NETWORK.get(_file_system_magic(folder)):
        raise FolderUnsuitable(
            f"{folder} is on a network file system ({name}), where SQLite's log can be corrupted; use a local disk"
        )


def _file_system_magic(folder: Path) -> int:
    # The first field of struct statfs is the type, a long, on every Linux; Python's os.statvfs does not tell it.
    buffer = ctypes.create_string_buffer(512)
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(folder), buffer) != 0:
        raise FolderUnsuitable(f"{folder}: {os.strerror(ctypes.get_errno())}")
    return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF

"""A real OpenSSH server of a test's own, on loopback, with whatever configuration the test is about."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from infra.deploy.services.native_process import free_port
from processors.executor.connector import Endpoint, Login
from tests.support.eventually import eventually

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class Server:
    """Started on construction. `settings` are lines of sshd_config; the first value of a keyword counts, so they win."""

    def __init__(self, *settings: str, host_key: str = "ed25519", port: int | None = None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="ops-sshd-"))
        self.home.chmod(0o755)
        self.port = port or free_port()
        make_key(self.home / "host", host_key)
        make_key(self.home / "user", "ed25519")
        self.authorize(self.home / "user.pub")
        lines = [
            *settings,
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.home}/host",
            f"PidFile {self.home}/pid",
            f"AuthorizedKeysFile {self.home}/authorized",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "MaxStartups 500:100:1000",
            "LogLevel VERBOSE",
            # bash then takes the command for a nested one and skips a developer's start-up files
            "SetEnv SHLVL=5",
        ]
        (self.home / "conf").write_text("\n".join(lines) + "\n")
        if os.access("/run", os.W_OK):
            Path("/run/sshd").mkdir(exist_ok=True)
        self._log = (self.home / "log").open("ab")
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(self.home / "conf")], stderr=self._log)
        eventually(self._listens)

    def authorize(self, public_key: Path) -> None:
        with (self.home / "authorized").open("a") as file:
            file.write(public_key.read_text())

    def endpoint(self, **other) -> Endpoint:
        return Endpoint(**{"target": "web-1", "host": "127.0.0.1", "port": self.port, "host_key": self.host_key, **other})

    def login(self, **other) -> Login:
        mine = {"fingerprint": "deploy@1", "username": getpass.getuser(), "private_key": (self.home / "user").read_text()}
        return Login(**{**mine, **other})

    @property
    def host_key(self) -> str:
        return " ".join((self.home / "host.pub").read_text().split()[:2])

    def log_ins(self) -> int:
        """How many connections have logged in so far."""
        return (self.home / "log").read_text(errors="replace").count("Accepted publickey")

    def sessions(self) -> list[int]:
        """The server's own children: one process a connection."""
        return [pid for pid, parent in _parents().items() if parent == self.process.pid]

    def stop(self) -> None:
        self.kill()
        self._log.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def kill(self) -> None:
        """End the listener and each connection's process; what those started is left alone."""
        for pid in [self.process.pid, *self.sessions()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def make_key(path: Path, kind: str, passphrase: str = "", *more: str) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path), *more], check=True, stdin=subprocess.DEVNULL
    )
    return path


def _parents() -> dict[int, int]:
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return parents


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def members(group: int) -> list[str]:
    """The processes of a process group that are no zombies."""
    members = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            members.append(name)
    return members

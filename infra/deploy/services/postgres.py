"""How does a Postgres server run on this machine?"""

import hashlib
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from infra.deploy.services.native_process import NativeService, ServiceFailed, ServiceUnavailable, program

_USER = "postgres"
_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = '.'
max_connections = 200
shared_buffers = 64MB
"""


def _folders() -> list[str]:
    """Where Debian keeps Postgres' programs, newest version first."""
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return [str(p) for p in sorted(found, key=lambda p: [int(n) for n in re.findall(r"\d+", str(p))], reverse=True)]


@dataclass(kw_only=True)
class PostgresServer(NativeService):
    """Postgres with one database, `opsconductor`; its superuser's password is drawn when the data folder is made.

    Postgres refuses to run as root, so root starts it as the user `postgres`, who must be able to enter the data folder: where
    a parent folder is closed to him the data lies below /var/tmp instead.
    """

    @property
    def name(self) -> str:
        """`postgres`."""
        return "postgres"

    @property
    def address(self) -> str:
        """The URL, with user and password."""
        return f"postgresql://{_USER}:{quote(self._password_file.read_text())}@127.0.0.1:{self.port}/opsconductor"

    @property
    def _password_file(self) -> Path:
        return self.home / "postgres-password"

    @property
    def data(self) -> Path:
        """The data folder."""
        wanted = self.home / "postgres-data"
        if os.geteuid() or _may_enter(self.home):
            return wanted
        return Path("/var/tmp") / f"opsconductor-postgres-{hashlib.sha256(str(wanted).encode()).hexdigest()[:12]}"

    def prepare(self) -> None:
        """Make the data folder when it is new."""
        if (self.data / "PG_VERSION").exists() and self._password_file.exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        if not os.geteuid():
            shutil.chown(self.data, _USER, _USER)
        password = secrets.token_urlsafe(24)
        self._run(["initdb", "-D", str(self.data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-locale", "-N"])
        (self.data / "pg_hba.conf").write_text("local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n")
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(_SETTINGS)
        first = f"alter user {_USER} password '{password}';\ncreate database opsconductor;\n"
        self._run(["postgres", "--single", "-D", str(self.data), "postgres"], first.encode())
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(password)

    def _run(self, command: Sequence[str], given: bytes = b"") -> None:
        ran = subprocess.run(self._as_server_user(command), input=given, capture_output=True, timeout=120, cwd="/", check=False)
        if ran.returncode:
            raise ServiceFailed(f"{command[0]} failed: {(ran.stdout + ran.stderr).decode(errors='replace')[-2000:]}")

    def _as_server_user(self, command: Sequence[str]) -> list[str]:
        full = [program(command[0], *_folders()), *command[1:]]
        if os.geteuid():
            return full
        return [program("setpriv"), f"--reuid={_USER}", f"--regid={_USER}", "--init-groups", *_tie(self.tied), "--", *full]

    def command(self) -> Sequence[str]:
        """The server in the foreground."""
        return self._as_server_user(["postgres", "-D", str(self.data), "-p", str(self.port)])

    def ready(self) -> bool:
        """It takes connections."""
        check = [program("pg_isready", *_folders()), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-d", "opsconductor"]
        return subprocess.run(check, check=False, timeout=10).returncode == 0

    def stop_signal(self) -> signal.Signals:
        """Fast shutdown: open sessions are ended, transactions rolled back."""
        return signal.SIGINT


def _tie(tied: bool) -> list[str]:
    """Asked for anew here: the tie is lost when the user changes."""
    return ["--pdeathsig", "KILL"] if tied else []


def _may_enter(folder: Path) -> bool:
    """May the server's user enter this folder and all above it?"""
    try:
        pwd.getpwnam(_USER)
    except KeyError:
        raise ServiceUnavailable(f"Postgres does not run as root and there is no user {_USER}") from None
    command = [program("setpriv"), f"--reuid={_USER}", f"--regid={_USER}", "--init-groups", "--", "test", "-x", str(folder)]
    return subprocess.run(command, check=False).returncode == 0

"""How does an OpenSSH server run on this machine?"""

import getpass
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.deploy.services.native_process import NativeService, listens, program

# The limits are far above what a fleet's worth of connections from one executor needs.
_SETTINGS = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {home}/host
PidFile none
AuthorizedKeysFile {home}/authorized
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups {max_startups}
MaxSessions 200
Subsystem sftp internal-sftp
"""


@dataclass(kw_only=True)
class SshServer(NativeService):
    """OpenSSH with a host key and one user key of its own; whoever holds the user key logs in as the user who started it."""

    max_startups: str = "500:100:1000"

    @property
    def name(self) -> str:
        """`sshd`."""
        return "sshd"

    @property
    def address(self) -> str:
        """`127.0.0.1:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def user(self) -> str:
        """The account to log in to."""
        return getpass.getuser()

    @property
    def private_key(self) -> str:
        """The user's private key (OpenSSH format, ed25519, no passphrase)."""
        return (self.home / "user").read_text()

    @property
    def host_key(self) -> str:
        """The host's public key as known_hosts has it: type and base64."""
        return " ".join((self.home / "host.pub").read_text().split()[:2])

    def prepare(self) -> None:
        """Make keys when there are none and write the settings."""
        for kind in ("host", "user"):
            if not (self.home / kind).exists():
                keygen = [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(self.home / kind)]
                subprocess.run(keygen, check=True, stdin=subprocess.DEVNULL, timeout=30)
        (self.home / "authorized").write_text((self.home / "user.pub").read_text())
        settings = _SETTINGS.format(port=self.port, home=self.home, max_startups=self.max_startups)
        (self.home / "sshd.conf").write_text(settings)
        if not os.geteuid():
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)

    def command(self) -> Sequence[str]:
        """The server in the foreground."""
        return [program("sshd", "/usr/sbin", "/usr/local/sbin"), "-D", "-e", "-f", str(self.home / "sshd.conf")]

    def ready(self) -> bool:
        """It takes connections."""
        return listens(self.port)

"""How is a connection opened, and what does each failure mean? fabric opens it; keys, agents and files of ours play no part."""

import socket
import threading
from dataclasses import dataclass

from fabric import Config, Connection
from paramiko.config import SSHConfig
from paramiko.ssh_exception import AuthenticationException, IncompatiblePeer, NoValidConnectionsError, SSHException

from infra.ssh.host_key import HostKeyDiffers, OnlyPinned, PinnedKey, pinned_key
from infra.ssh.private_key import PrivateKeys
from infra.ssh.settings import SshSettings
from infra.ssh.transport import LeanTransport
from processors.executor.connector import Endpoint, Login, Unreachable

_DEAD_PEER_AFTER_MS = 30_000
_MOST_SAID = 80


class RefusedForNow(Exception):
    """The server hung up before it said anything of its own (MaxStartups): worth another try."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection that is logged in. `close` ends it at once."""

    connection: Connection
    transport: LeanTransport

    def close(self) -> None:
        """End it; nothing of it stays behind."""
        self.transport.close()
        self.connection.client.close()


def told_of(endpoint: Endpoint, login: Login, failed: Unreachable) -> Unreachable:
    """The failure as its target is told it. Several that share a connection share its failure, not the name in it."""
    where = f"{endpoint.target} ({endpoint.host}:{endpoint.port})"
    return Unreachable(failed.code, f"{where} {failed.message} [{login.fingerprint}]")


class Opener:
    """Opens connections, from any thread. They share fabric's configuration, made without files, environment or ssh_config.

    A Connection writes to the configuration it is made with, which is empty for a moment then: so each is made with one, under a
    lock, and reads from another that nobody writes to.
    """

    def __init__(self, settings: SshSettings) -> None:
        self._settings = settings
        self._keys = PrivateKeys()
        self._written, self._read = (_configuration() for _ in range(2))
        self._making = threading.Lock()

    def open(self, endpoint: Endpoint, login: Login) -> Opened:
        """Connect and log in, within a small multiple of `connect_timeout_s`.

        Raises `Unreachable` or `RefusedForNow`, with what the endpoint does or has and not its name (see `told_of`).
        """
        pinned = pinned_key(endpoint)
        connection, built = self._prepared(endpoint, login, pinned)
        opened = False
        try:
            connection.open()
            built[0].set_keepalive(self._settings.keepalive_s)
            opened = True
            return Opened(connection, built[0])
        except HostKeyDiffers:
            failure: Exception = Unreachable("host_key_changed", "shows another host key than the pinned one")
        except (SSHException, OSError, EOFError, ValueError) as error:
            failure = _meaning(error, built[0].packetizer.said_first if built else "")
        finally:
            if not opened:
                for transport in built:
                    transport.close()
        # outside the handlers: what failed must not ride along as its context, with frames that hold the log-in
        raise failure

    def _prepared(self, endpoint: Endpoint, login: Login, pinned: PinnedKey) -> tuple[Connection, list[LeanTransport]]:
        built: list[LeanTransport] = []

        def transport(sock: socket.socket, disabled_algorithms: object = None) -> LeanTransport:
            _tune(sock)
            built.append(LeanTransport(sock, pinned.algorithms))
            return built[-1]

        bound = self._settings.connect_timeout_s
        ways = {
            "pkey": self._keys.of(login),
            "password": login.password,
            "allow_agent": False,
            "look_for_keys": False,
            "timeout": bound,
            "banner_timeout": bound,
            "auth_timeout": bound,
            "channel_timeout": bound,
            "transport_factory": transport,
        }
        if not endpoint.host or "@" in endpoint.host:
            raise Unreachable("connect_failed", "has no host name that can be looked up")
        with self._making:
            connection = Connection(
                endpoint.host,
                user=login.username,
                port=endpoint.port,
                config=self._written,
                forward_agent=False,
                connect_kwargs=ways,
            )
        connection._set(_config=self._read)
        connection.client.set_missing_host_key_policy(OnlyPinned(pinned))
        return connection, built


def _configuration() -> Config:
    return Config(lazy=True, ssh_config=SSHConfig(), overrides={"load_ssh_configs": False})


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_PEER_AFTER_MS)


_Meaning = tuple[type[Exception], str, str, str]
_MEANINGS: tuple[_Meaning, ...] = (
    (IncompatiblePeer, "host key", "host_key_changed", "has no host key of the pinned one's type"),
    (IncompatiblePeer, "", "no_common_algorithm", "shares no algorithm with us"),
    (AuthenticationException, "imeout", "connect_timed_out", "did not answer the log-in in time"),
    (AuthenticationException, "EOF", "connect_failed", "hung up during the log-in"),
    (AuthenticationException, "", "authentication_failed", "refused the log-in"),
    (SSHException, "No authentication methods", "authentication_failed", "was given neither a key nor a password"),
    (SSHException, "No existing session", "connect_timed_out", "did not agree on keys in time"),
    (NoValidConnectionsError, "", "connect_failed", "refuses connections"),
    (socket.gaierror, "", "connect_failed", "has a name that cannot be looked up"),
    (TimeoutError, "", "connect_timed_out", "did not answer in time"),
    (OSError, "", "connect_failed", "cannot be connected to"),
)
"""An exception's type, what its text holds, the port's code and words for it: the first that fits."""


_REFUSALS = ("Exceeded MaxStartups", "Not allowed at this time")
"""What OpenSSH says, instead of what an SSH server begins with, to whom it refuses for now."""


def _meaning(error: Exception, said: str) -> Exception:
    """What failed; `said` is what the peer said where an SSH server gives its version."""
    text = str(error)
    if said and not said.startswith(_REFUSALS):
        return Unreachable("connect_failed", f"is no SSH server: it says {said[:_MOST_SAID]!r}")
    if isinstance(error, SSHException) and "protocol banner" in text:
        if isinstance(error.__context__, TimeoutError):
            return Unreachable("connect_timed_out", "accepts connections and says nothing")
        return RefusedForNow("hung up before its first word")
    if isinstance(error, EOFError | ConnectionResetError):
        return RefusedForNow("hung up before a log-in")
    for kind, fragment, code, words in _MEANINGS:
        if isinstance(error, kind) and fragment in text:
            detail = f" ({text.removeprefix('Incompatible ssh peer ').strip('()')})" if code == "no_common_algorithm" else ""
            return Unreachable(code, f"{words}{detail}")
    return Unreachable("connect_failed", f"cannot be connected to ({type(error).__name__})")

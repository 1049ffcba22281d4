"""Is the server the one that was pinned? We compare the key ourselves; nothing is ever learnt or looked up."""

import base64
import binascii
import hmac
from dataclasses import dataclass

from paramiko import MissingHostKeyPolicy, PKey, SSHClient

from processors.executor.connector import Endpoint, Unreachable

_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
_KNOWN = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")


@dataclass(frozen=True, slots=True)
class PinnedKey:
    """A target's host key: its type, its public blob, and the algorithms by which a server can prove it."""

    kind: str
    blob: bytes

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What to ask the server for; only these show a key of this type."""
        return _ALGORITHMS.get(self.kind, (self.kind,))


def pinned_key(endpoint: Endpoint) -> PinnedKey:
    """The endpoint's pinned key. Raises `Unreachable`: none or none that can be read, or of a type that no longer counts."""
    words = (endpoint.host_key or "").split()
    if not words:
        raise Unreachable("host_key_not_pinned", "has no pinned host key")
    blob = _decoded(words[1]) if len(words) > 1 else b""
    if not blob.startswith(len(words[0]).to_bytes(4, "big") + words[0].encode()):
        raise Unreachable("host_key_not_pinned", "has a pinned host key that cannot be read")
    if words[0] not in _KNOWN:
        raise Unreachable("no_common_algorithm", f"is pinned with a host key of type {words[0]}, which is not supported")
    return PinnedKey(words[0], blob)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


class HostKeyDiffers(Exception):
    """The server showed another key than the pinned one; no credential was sent."""


class OnlyPinned(MissingHostKeyPolicy):
    """Accepts one key. Asked for every connection, since no key is ever known to the client otherwise."""

    def __init__(self, pinned: PinnedKey) -> None:
        self._pinned = pinned

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        """Raise `HostKeyDiffers` unless `key` is the pinned one."""
        if not hmac.compare_digest(key.asbytes(), self._pinned.blob):
            raise HostKeyDiffers

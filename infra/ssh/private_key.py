"""How does a private key's text become a key? Parsed once a credential's revision; what is wrong with it is said without it."""

import hashlib
import io
import threading
from collections import OrderedDict

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paramiko import ECDSAKey, Ed25519Key, PKey, RSAKey, SSHException

from processors.executor.connector import Login, Unreachable

_KINDS = (
    (ed25519.Ed25519PrivateKey, Ed25519Key),
    (ec.EllipticCurvePrivateKey, ECDSAKey),
    (rsa.RSAPrivateKey, RSAKey),
)


class PrivateKeys:
    """The keys parsed so far, the least recently used dropped beyond `most`. Shared by threads."""

    def __init__(self, most: int = 256) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._keys: OrderedDict[tuple[str, bytes], PKey] = OrderedDict()

    def of(self, login: Login) -> PKey | None:
        """The login's key, None if it has none. Raises `Unreachable` (authentication_failed) for one that cannot be used."""
        if login.private_key is None:
            return None
        name = (login.fingerprint, hashlib.sha256(login.private_key.encode()).digest())
        with self._lock:
            if name in self._keys:
                self._keys.move_to_end(name)
                return self._keys[name]
        key = _parsed(login)
        if isinstance(key, str):
            # said here, where no local variable holds the key
            raise Unreachable("authentication_failed", f"cannot be logged in to: the private key {key}")
        with self._lock:
            self._keys[name] = key
            while len(self._keys) > self._most:
                self._keys.popitem(last=False)
        return key


def _parsed(login: Login) -> PKey | str:
    """The key, or what is wrong with it."""
    text = (login.private_key or "").strip() + "\n"
    passphrase = login.passphrase.encode() if login.passphrase else None
    load = serialization.load_ssh_private_key if "OPENSSH PRIVATE KEY" in text else serialization.load_pem_private_key
    try:
        loaded = load(text.encode(), passphrase)
        for kind, build in _KINDS:
            if isinstance(loaded, kind):
                plain = loaded.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
                return build.from_private_key(io.StringIO(plain.decode()))
    except (ValueError, TypeError, UnsupportedAlgorithm, SSHException) as error:
        return _flaw(error, passphrase)
    return "is of a type that is not supported"


def _flaw(error: Exception, passphrase: bytes | None) -> str:
    encrypted = isinstance(error, TypeError) or "assword" in str(error) or "ncrypt" in str(error)
    if passphrase is None:
        return "needs a passphrase" if encrypted else "cannot be read"
    return "cannot be read with its passphrase"

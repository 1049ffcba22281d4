"""How is a secret sealed? Envelope encryption: a random data key a secret, itself sealed by the master key.

    sealed  = AES-256-GCM(data key,   nonce, secret,   aad = "secret"   + bound_to + secret id)
    wrapped = AES-256-GCM(master key, nonce, data key, aad = "data key" + bound_to + secret id + key version)

So a secret opens only under the id and for the purpose it was sealed for, and a new master key only means wrapping data keys
anew: `key_version` says which master key wraps this one. Destroying the row destroys the only copy of the data key.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.vault import SecretUnavailable

_NONCE = 12


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret as it is kept; each part begins with its nonce."""

    key_version: int
    wrapped: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True, repr=False)
class MasterKeys:
    """The master keys by version; new secrets are sealed under the newest. Has no repr."""

    by_version: Mapping[int, bytes]

    @property
    def newest(self) -> int:
        """The version new secrets are sealed under."""
        return max(self.by_version)


def seal(keys: MasterKeys, secret_id: str, bound_to: str, secret: bytes) -> Sealed:
    """`secret`, sealed for one id and purpose."""
    version, data_key = keys.newest, AESGCM.generate_key(256)
    return Sealed(
        version,
        _encrypted(keys.by_version[version], data_key, _bound("data key", secret_id, bound_to, version)),
        _encrypted(data_key, secret, _bound("secret", secret_id, bound_to)),
    )


def opened(keys: MasterKeys, secret_id: str, bound_to: str, kept: Sealed) -> bytes:
    """The secret in clear. Raises `SecretUnavailable` when it is not bound to this or was tampered with."""
    master = keys.by_version.get(kept.key_version)
    if master is None:
        raise SecretUnavailable(f"secret {secret_id} is sealed under master key {kept.key_version}, which is not here")
    try:
        data_key = _decrypted(master, kept.wrapped, _bound("data key", secret_id, bound_to, kept.key_version))
        return _decrypted(data_key, kept.sealed, _bound("secret", secret_id, bound_to))
    except InvalidTag:
        raise SecretUnavailable(f"secret {secret_id} does not open for {bound_to}") from None


def _bound(*parts: str | int) -> bytes:
    """The parts so that no two different lists of parts give the same bytes."""
    return b"".join(b"%d:%s" % (len(raw), raw) for raw in (str(part).encode() for part in parts))


def _encrypted(key: bytes, clear: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, clear, bound)


def _decrypted(key: bytes, raw: bytes, bound: bytes) -> bytes:
    return AESGCM(key).decrypt(raw[:_NONCE], raw[_NONCE:], bound)

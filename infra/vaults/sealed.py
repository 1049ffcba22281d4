"""How is a secret sealed? Envelope encryption: a random data key a secret, itself sealed by the master key.

    sealed  = AES-256-GCM(data key,   nonce, secret,   aad = "secret"   + bound_to + secret id)
    wrapped = 02 + AES-256-GCM(master key, nonce, data key, aad = "data key" + secret id + key version)

So a secret opens only under the id and for the purpose it was sealed for, and a new master key only means wrapping data keys
anew, for which nobody needs to know the purpose: `key_version` says which master key wraps this one. Destroying the row destroys
the only copy of the data key. (Before there was a 02 in front, the data key's aad held the purpose, too: such rows still open.)
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.vault import SecretUnavailable, VaultError

_NONCE = 12
_FORM = b"\x02"
_FIRST_FORM_BYTES = 60


class MasterKeyAbsent(VaultError):
    """A secret is sealed under a master key that this process does not know (yet)."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret as it is kept; each part has its nonce in front."""

    key_version: int
    wrapped: bytes
    sealed: bytes

    @property
    def names_its_purpose(self) -> bool:
        """Whether even the data key opens only for who knows what the secret is for."""
        return len(self.wrapped) == _FIRST_FORM_BYTES


@dataclass(frozen=True, slots=True, repr=False)
class MasterKeys:
    """The master keys by version. Has no repr."""

    by_version: Mapping[int, bytes]

    @property
    def newest(self) -> int:
        """The newest version that is known."""
        return max(self.by_version)

    def of(self, version: int) -> bytes:
        """One of them. Raises `MasterKeyAbsent`."""
        try:
            return self.by_version[version]
        except KeyError:
            raise MasterKeyAbsent(f"master key {version} is not here") from None


def seal(keys: MasterKeys, version: int, secret_id: str, bound_to: str, secret: bytes) -> Sealed:
    """`secret`, sealed for one id and purpose under the master key `version`. Raises `MasterKeyAbsent`."""
    data_key = AESGCM.generate_key(256)
    sealed = _encrypted(data_key, secret, _bound("secret", secret_id, bound_to))
    return Sealed(version, _wrapped(keys, version, secret_id, data_key), sealed)


def opened(keys: MasterKeys, secret_id: str, bound_to: str, kept: Sealed) -> bytes:
    """The secret in clear. Raises `SecretUnavailable` when it is not bound to this or was tampered with, `MasterKeyAbsent`."""
    data_key = data_key_of(keys, secret_id, bound_to, kept)
    try:
        return _decrypted(data_key, kept.sealed, _bound("secret", secret_id, bound_to))
    except InvalidTag:
        raise SecretUnavailable(f"secret {secret_id} does not open for {bound_to}") from None


def data_key_of(keys: MasterKeys, secret_id: str, bound_to: str | None, kept: Sealed) -> bytes:
    """The data key; what the secret is for matters only in the first form. Raises `SecretUnavailable`, `MasterKeyAbsent`."""
    master, version = keys.of(kept.key_version), kept.key_version
    try:
        if not kept.names_its_purpose:
            return _decrypted(master, kept.wrapped[len(_FORM) :], _bound("data key", secret_id, version))
        if bound_to is not None:
            return _decrypted(master, kept.wrapped, _bound("data key", secret_id, bound_to, version))
    except InvalidTag:
        pass
    raise SecretUnavailable(f"the data key of secret {secret_id} does not open under master key {version}") from None


def wrapped_anew(keys: MasterKeys, version: int, secret_id: str, bound_to: str | None, kept: Sealed) -> Sealed:
    """The same sealed secret, its data key under another master key. Raises `SecretUnavailable`, `MasterKeyAbsent`."""
    data_key = data_key_of(keys, secret_id, bound_to, kept)
    return Sealed(version, _wrapped(keys, version, secret_id, data_key), kept.sealed)


def _wrapped(keys: MasterKeys, version: int, secret_id: str, data_key: bytes) -> bytes:
    return _FORM + _encrypted(keys.of(version), data_key, _bound("data key", secret_id, version))


def _bound(*parts: str | int) -> bytes:
    """The parts so that no two different lists of parts give the same bytes."""
    return b"".join(b"%d:%s" % (len(raw), raw) for raw in (str(part).encode() for part in parts))


def _encrypted(key: bytes, clear: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, clear, bound)


def _decrypted(key: bytes, raw: bytes, bound: bytes) -> bytes:
    return AESGCM(key).decrypt(raw[:_NONCE], raw[_NONCE:], bound)

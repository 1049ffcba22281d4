"""Which key are all secrets sealed under? Given from outside, or generated on the first start into a file only we can read."""

import base64
import binascii
import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from infra.vaults.sealed import MasterKeys

FILE = "master-key"
BYTES = 32


class BadMasterKey(Exception):
    """The master key cannot be used; the message says why and never shows it."""


def given(text: str) -> bytes:
    """The key written as base64. Raises `BadMasterKey`."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise BadMasterKey("the master key is not base64") from None
    if len(key) != BYTES:
        raise BadMasterKey(f"the master key must have {BYTES} bytes, it has {len(key)}")
    return key


def kept_in(home: Path) -> bytes:
    """The key in `home`, generated when there is none; two processes that start at once agree on one. Raises `BadMasterKey`."""
    path = home / FILE
    if not path.exists():
        _generate(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise BadMasterKey(f"{path} can be read by others; make it 0600")
    return given(path.read_text())


def _generate(path: Path) -> None:
    fresh = path.with_name(f".{FILE}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, base64.b64encode(os.urandom(BYTES)) + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(fresh, path)  # whole or not at all, and never over another process's
    except FileExistsError:
        return
    finally:
        fresh.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def derived(master: bytes, purpose: str) -> bytes:
    """A key for one purpose; it tells nothing about the master key or those for other purposes."""
    return HKDF(SHA256(), BYTES, None, f"opsconductor {purpose}".encode()).derive(master)


def vault_keys(master: bytes) -> MasterKeys:
    """What the vault seals under."""
    return MasterKeys({1: derived(master, "vault v1")})

"""Which keys are secrets sealed under? Given from outside, or generated on the first start into a file only we can read.

Several may be known at once, each by its version: `2:<base64>`, one a line in the file, between commas in the setting. A key
without a version is version 1. New secrets are sealed under the newest that is in force (`infra.vaults.rotation`).
"""

import base64
import binascii
import fcntl
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from infra.vaults.sealed import MasterKeys

FILE = "master-key"
BYTES = 32
MOST = 16
"""How many keys may be known at once."""

_ENTRY = re.compile(r"(?:([1-9][0-9]{0,5}):)?([A-Za-z0-9+/]+={0,2})")

Masters = Mapping[int, bytes]


class BadMasterKey(Exception):
    """The master key cannot be used; the message says why and never shows it."""


def given(text: str) -> Masters:
    """The keys written as `version:base64`, between commas or line ends. Raises `BadMasterKey`."""
    masters: dict[int, bytes] = {}
    for entry in filter(None, re.split(r"[,\s]+", text)):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise BadMasterKey("the master key is neither base64 nor version:base64")
        version = int(match[1] or 1)
        if version in masters:
            raise BadMasterKey(f"there are two master keys of version {version}")
        masters[version] = _key(match[2])
    if not masters:
        raise BadMasterKey("there is no master key in it")
    if len(masters) > MOST:
        raise BadMasterKey(f"there are more than {MOST} master keys")
    return masters


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadMasterKey("the master key is not base64") from None
    if len(key) != BYTES:
        raise BadMasterKey(f"the master key must have {BYTES} bytes, it has {len(key)}")
    return key


def written(masters: Masters) -> str:
    """The keys as the file holds them; the only key of version 1 stands alone, as it always did."""
    if set(masters) == {1}:
        return base64.b64encode(masters[1]).decode() + "\n"
    return "".join(f"{version}:{base64.b64encode(masters[version]).decode()}\n" for version in sorted(masters))


def kept_in(home: Path) -> Masters:
    """The keys in `home`, one made when there is none; two processes that start at once agree on it. Raises `BadMasterKey`."""
    path = home / FILE
    if not path.exists():
        _generate(path)
    return read(path)


def read(path: Path) -> Masters:
    """The keys in a file. Raises `BadMasterKey`."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise BadMasterKey(f"{path} can be read by others; make it 0600")
        return given(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise BadMasterKey(f"{path} cannot be read: {type(error).__name__}") from None


def replace(path: Path, masters: Masters) -> None:
    """Put these keys in the place of those in the file: whole or not at all, and on the disk before this returns."""
    fresh = path.with_name(f".{path.name}.new")
    _write(fresh, masters)
    fresh.replace(path)
    _sync(path.parent)


def new_key() -> bytes:
    """A fresh key."""
    return os.urandom(BYTES)


@contextmanager
def changing(home: Path) -> Iterator[None]:
    """Who changes the file in `home` is the only one to do so meanwhile. Raises `BadMasterKey` when another is at it."""
    folder = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BadMasterKey(f"another process is changing {home / FILE}") from None
    finally:
        os.close(folder)


def _generate(path: Path) -> None:
    fresh = path.with_name(f".{FILE}.{os.getpid()}")
    _write(fresh, {1: new_key()})
    try:
        os.link(fresh, path)  # whole or not at all, and never over another process's
    except FileExistsError:
        return
    finally:
        fresh.unlink()
    _sync(path.parent)


def _write(path: Path, masters: Masters) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(written(masters))
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def derived(master: bytes, purpose: str) -> bytes:
    """A key for one purpose; it tells nothing about the master key or those for other purposes."""
    return HKDF(SHA256(), BYTES, None, f"opsconductor {purpose}".encode()).derive(master)


def vault_keys(masters: Masters) -> MasterKeys:
    """What the vault seals under."""
    return MasterKeys({version: derived(master, "vault v1") for version, master in masters.items()})

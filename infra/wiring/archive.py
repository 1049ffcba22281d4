"""How does a backup look as one file?

A tar archive of plain files in a fixed order: `manifest.json`, its SHA-256 (`manifest.sha256`, as `sha256sum -c` reads it),
then the members that the manifest names with sizes and SHA-256. It is not compressed: it never unpacks to more than its own size.

What is read may have been made by anybody (HAZARDS §4 case 34). It is read header by header; only the next expected plain file is
ever accepted, and it goes where this program says: a name, link, device, sparse file or duplicate in it leads nowhere.
"""

import hashlib
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import orjson
from pydantic import TypeAdapter, ValidationError

FORMAT = 1
"""The number of this form; it changes when an older program could not restore what a newer one made."""

MANIFEST, MANIFEST_SUM = "manifest.json", "manifest.sha256"
LOG, VAULT, MASTER_KEY, ADMIN_PASSWORD = "log.sqlite3", "vault.sqlite3", "master-key", "admin-password"
MEMBERS = (LOG, VAULT, MASTER_KEY, ADMIN_PASSWORD)
"""Every member there may be, in the order in which they stand; the first two are always there."""

_MAX_MANIFEST_BYTES = 4 * 1024 * 1024
_AT_ONCE = 1024 * 1024


class BadBackup(Exception):
    """The file is no whole backup of ours; the message says where it is not."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The events of one partition: how many, and the last one's hash."""

    topic: str
    shard: int
    events: int
    head: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the copies hold: each partition's next offset by `topic/shard`, rows by table, the chains of events."""

    shards: int
    positions: dict[str, int]
    rows: dict[str, int]
    chains: list[Chain]


@dataclass(frozen=True, slots=True)
class Member:
    """One file: bytes, and their SHA-256 (hex)."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup says of itself; `version` is that of the program that made it."""

    format: int = FORMAT
    version: str
    made_at: datetime
    facts: Facts
    members: dict[str, Member] = field(default_factory=dict)


_MANIFEST = TypeAdapter(Manifest)


def pack(file: Path, manifest: Manifest, members: Mapping[str, Path | bytes]) -> None:
    """Write a new file, readable by its owner alone, and bring it to the disk. `manifest.members` is filled in here."""
    for name in (name for name in MEMBERS if name in members):
        manifest.members[name] = _measured(members[name])
    said = orjson.dumps(_MANIFEST.dump_python(manifest, mode="json"), option=orjson.OPT_INDENT_2)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
            _add(archive, MANIFEST, said, manifest)
            _add(archive, MANIFEST_SUM, f"{hashlib.sha256(said).hexdigest()}  {MANIFEST}\n".encode(), manifest)
            for name in manifest.members:
                _add(archive, name, members[name], manifest)
        target.flush()
        os.fsync(target.fileno())


def _measured(content: Path | bytes) -> Member:
    if isinstance(content, bytes):
        return Member(len(content), hashlib.sha256(content).hexdigest())
    with content.open("rb") as source:
        return Member(content.stat().st_size, hashlib.file_digest(source, "sha256").hexdigest())


def _add(archive: tarfile.TarFile, name: str, content: Path | bytes, manifest: Manifest) -> None:
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = 0o600, int(manifest.made_at.timestamp())
    if isinstance(content, bytes):
        info.size = len(content)
        archive.addfile(info, BytesIO(content))
        return
    info.size = manifest.members[name].size
    with content.open("rb") as source:
        archive.addfile(info, source)


def unpack(file: Path, places: Mapping[str, Path]) -> Manifest:
    """Read a backup into new files, one for each member in `places`; what it says of itself. Raises `BadBackup`, `OSError`."""
    with file.open("rb") as source:
        said = _bounded(source, MANIFEST)
        if _bounded(source, MANIFEST_SUM) != f"{hashlib.sha256(said).hexdigest()}  {MANIFEST}\n".encode():
            raise BadBackup(f"{MANIFEST} is not what was written: its SHA-256 differs")
        manifest = _understood(said)
        for name, member in manifest.members.items():
            _unpack_member(source, name, member, places[name])
        while rest := source.read(_AT_ONCE):
            if rest.strip(b"\0"):
                raise BadBackup("something follows the last member")
        return manifest


def _understood(said: bytes) -> Manifest:
    try:
        plain = orjson.loads(said)
        if isinstance(plain, dict) and plain.get("format") != FORMAT:
            raise BadBackup(f"the backup has format {plain.get('format')!r}; this program knows {FORMAT}")
        manifest = _MANIFEST.validate_python(plain)
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise BadBackup(f"{MANIFEST} is not a manifest: {str(error).splitlines()[0]}") from None
    names = tuple(manifest.members)
    if names != tuple(name for name in MEMBERS if name in names) or names[:2] != (LOG, VAULT):
        raise BadBackup(f"{MANIFEST} names other members than a backup has: {', '.join(names)}")
    return manifest


def _bounded(source: BinaryIO, name: str) -> bytes:
    size = _next_size(source, name)
    if size > _MAX_MANIFEST_BYTES:
        raise BadBackup(f"{name} is too large: {size} bytes")
    content = _exactly(source, size, name)
    _pass_padding(source, size, name)
    return content


def _unpack_member(source: BinaryIO, name: str, member: Member, place: Path) -> None:
    size = _next_size(source, name)
    if size != member.size:
        raise BadBackup(f"{name} has {size} bytes; the manifest says {member.size}")
    digest = hashlib.sha256()
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        for left in range(size, 0, -_AT_ONCE):
            part = _exactly(source, min(left, _AT_ONCE), name)
            digest.update(part)
            target.write(part)
    if digest.hexdigest() != member.sha256:
        raise BadBackup(f"{name} is not what was written: its SHA-256 differs")
    _pass_padding(source, size, name)


def _next_size(source: BinaryIO, wanted: str) -> int:
    raw = _exactly(source, tarfile.BLOCKSIZE, wanted)
    try:
        found = tarfile.TarInfo.frombuf(raw, "utf-8", "surrogateescape")
    except tarfile.TarError:
        raise BadBackup(f"where {wanted} should begin there is no file's header") from None
    if found.name != wanted or found.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or found.size < 0:
        raise BadBackup(f"where the plain file {wanted} should be there is {found.name!r} of type {found.type!r}")
    return found.size


def _pass_padding(source: BinaryIO, size: int, name: str) -> None:
    _exactly(source, -size % tarfile.BLOCKSIZE, name)


def _exactly(source: BinaryIO, size: int, name: str) -> bytes:
    content = source.read(size)
    if len(content) != size:
        raise BadBackup(f"the file ends in the middle of {name}: it was cut off")
    return content

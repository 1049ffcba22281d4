"""How does an operator get a new master key into force, and the old one away? (`infra.vaults.rotation` says why nothing is lost.)

The key goes into the file first. Then, where this process may write the vault, it does the rest itself; where a running server is
the only one that may (SQLite), that server does, and this waits for it. Killed anywhere it is done again and goes on.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from infra.sql.engine import create_all, open_engine, open_reader
from infra.sqlite.lock import FolderInUse, FolderLock
from infra.vaults import master_key, rotation
from infra.vaults.key_ring import KeyRing
from infra.vaults.references import purposes
from infra.vaults.rotation import Rows
from infra.vaults.sql_vault import SqlVault
from infra.wiring.composition import DatabaseUnavailable, key_ring
from infra.wiring.settings import Settings

_AGAIN_S = 0.2
_HERE = "OPSCONDUCTOR_MASTER_KEY"


class NotRotated(Exception):
    """The master key was not rotated, or not wholly; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Status:
    """Which key is in force, which are known here, how many secrets are under each."""

    rows: Rows
    known: tuple[int, ...]


def status(settings: Settings) -> Status:
    """How the vault is. Raises `NotRotated`, `BadMasterKey`, `DatabaseUnavailable`."""
    reader = _reader(settings)
    try:
        ring = key_ring(settings, reader)
        return Status(_rows(reader), tuple(sorted(ring.masters)))
    finally:
        reader.dispose()


def rotate(settings: Settings, wait_s: float, told: Callable[[str], None]) -> Status:
    """Bring a new master key into force and every secret under it. Raises `NotRotated`, `BadMasterKey`, `DatabaseUnavailable`."""
    reader = _reader(settings)
    try:
        with master_key.changing(settings.home):
            ring = key_ring(settings, reader)
            version = _new_version(settings, reader, ring, told)
            _carry_through(settings, reader, ring, version, wait_s, told)
            if wrong := rotation.check(reader, ring, partial(purposes, reader)):
                raise NotRotated(f"{len(wrong)} secrets could not be brought under master key {version}: {_some(wrong)}")
            return Status(_rows(reader), tuple(sorted(ring.masters)))
    except SQLAlchemyError as error:
        raise DatabaseUnavailable(str(getattr(error, "orig", error))) from None
    finally:
        reader.dispose()


def retire(settings: Settings) -> Status:
    """Take every key but the one in force out of the file, once each secret was opened under it. Raises as `rotate` does."""
    reader = _reader(settings)
    try:
        with master_key.changing(settings.home):
            ring = key_ring(settings, reader)
            in_force = _rows(reader).in_force
            if in_force is None or max(ring.masters) != in_force:
                raise NotRotated("a rotation has begun and is not over: run it again without --retire")
            if wrong := rotation.check(reader, ring, partial(purposes, reader)):
                raise NotRotated(f"{len(wrong)} secrets still need an older key: {_some(wrong)}")
            if settings.master_key is None:
                master_key.replace(settings.home / master_key.FILE, {in_force: ring.masters[in_force]})
            elif len(ring.masters) > 1:
                raise NotRotated(f"no secret needs an older key: leave only `{in_force}:…` in {_HERE}, everywhere")
            return Status(_rows(reader), (in_force,))
    except SQLAlchemyError as error:
        raise DatabaseUnavailable(str(getattr(error, "orig", error))) from None
    finally:
        reader.dispose()


def _some(wrong: dict[str, int]) -> str:
    named = [f"{ident} (master key {version})" for ident, version in list(wrong.items())[:3]]
    return ", ".join([*named, *(["…"] if len(wrong) > len(named) else [])])


def _reader(settings: Settings) -> Engine:
    if settings.vault_url:
        raise NotRotated("the secrets are in an external vault, which has no master key of ours: rotate its own keys")
    url = make_url(settings.read_models_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        raise NotRotated(f"there is no vault: {url.database} is absent")
    return open_reader(settings.read_models_url)


def _rows(reader: Engine) -> Rows:
    try:
        with reader.begin() as connection:
            return rotation.rows_of(connection)
    except SQLAlchemyError as error:
        raise DatabaseUnavailable(str(getattr(error, "orig", error))) from None


def _new_version(settings: Settings, reader: Engine, ring: KeyRing, told: Callable[[str], None]) -> int:
    """The key to go to: the one of a rotation whose old key is not retired yet, or one that is made here and now."""
    rows, newest = _rows(reader), max(ring.masters)
    if rows.in_force is None:
        raise NotRotated("the vault has not been used yet: start the server once")
    if newest != rows.in_force or rows.left or len(ring.masters) > 1:
        told(f"going on with master key {max(newest, rows.in_force)}")
        return max(newest, rows.in_force)
    version = newest + 1
    if settings.master_key is not None:
        raise NotRotated(
            f"give every process `{newest}:<the key so far>,{version}:<32 random bytes as base64>` in {_HERE},"
            " restart them one after the other, then run this again"
        )
    master_key.replace(settings.home / master_key.FILE, {**ring.masters, version: master_key.new_key()})
    told(f"made master key {version}, in {settings.home / master_key.FILE}")
    return version


def _carry_through(
    settings: Settings, reader: Engine, ring: KeyRing, version: int, wait_s: float, told: Callable[[str], None]
) -> None:
    if reader.dialect.name == "sqlite":
        try:
            lock = FolderLock(settings.log_folder)
        except FolderInUse as server:
            told(f"process {server.pid} uses the data folder: waiting for it to wrap the secrets anew")
            _await_server(reader, version, wait_s)
            return
        try:
            _do_all(settings, ring, version, purposes_from=reader)
        finally:
            lock.release()
        return
    _do_all(settings, ring, version, purposes_from=reader)


def _do_all(settings: Settings, ring: KeyRing, version: int, purposes_from: Engine) -> None:
    writer = open_engine(settings.read_models_url)
    try:
        create_all(writer)
        SqlVault(writer, purposes_from, ring).create_tables()
        rotation.bring_into_force(writer, ring, version)
        rotation.wrap_all(writer, ring, partial(purposes, purposes_from))
    finally:
        writer.dispose()


def _await_server(reader: Engine, version: int, wait_s: float) -> None:
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        with suppress(DatabaseUnavailable):
            rows = _rows(reader)
            if rows.in_force == version and not rows.left:
                return
        time.sleep(_AGAIN_S)
    raise NotRotated(f"the server has not wrapped all secrets anew within {wait_s:g} s; it goes on: run this again to see")

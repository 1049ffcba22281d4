"""How is a backup made while the server runs, and what is in one?

The log, and the vault's sealed secrets; everything else is made anew from the log. What opens the secrets, the master key, is
left out unless it is asked for.

The order is what makes the two fit: a secret is sealed before its command enters the log, so the log is copied first and the
vault after it; every secret that the copied log names is then in the copied vault. The other way round a secret sealed between
the two copies would be named and not there.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from api.log_check import LogCheck
from infra.sql.engine import open_reader
from infra.sql.file_url import sqlite_url
from infra.sqlite.copying import contents_of, copy_log
from infra.sqlite.log import SqliteLog
from infra.vaults import master_key, rotation
from infra.vaults.key_ring import KeyRing
from infra.vaults.sealed_copy import copy_sealed, count_secrets
from infra.wiring.archive import ADMIN_PASSWORD, LOG, MASTER_KEY, VAULT, Chain, Facts, Manifest, pack
from infra.wiring.first_administrator import PASSWORD_FILE
from infra.wiring.settings import Settings
from infra.wiring.version import VERSION
from schemas.log import LogError


class NotCopied(Exception):
    """No backup was made, or nothing was restored; the message says why."""


class NotEmbedded(Exception):
    """The data does not lie in SQLite files; the message says by which means it is backed up."""


_BY_OTHER_MEANS = "by their own means (docs/how-to/back-up-and-restore.md)"


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found in a log and a vault that are whole; `secrets` is their number."""

    facts: Facts
    secrets: int
    unfinished_runs: list[str]

    @property
    def events(self) -> int:
        """How many events the log holds."""
        return sum(chain.events for chain in self.facts.chains)


def refuse_unless_embedded(settings: Settings) -> None:
    """Raise `NotEmbedded` unless log and vault both lie in SQLite files."""
    if settings.vault_url:
        raise NotEmbedded(f"the secrets are in an external vault: back up the log's folder, stopped, and that {_BY_OTHER_MEANS}")
    if not settings.is_embedded:
        raise NotEmbedded(
            f"this copies the embedded server's data; the log is on Kafka: back up its topics and the database {_BY_OTHER_MEANS}"
        )
    if make_url(settings.read_models_url).get_backend_name() != "sqlite":
        raise NotEmbedded(f"the vault is in Postgres: back up the log's folder, stopped, and Postgres {_BY_OTHER_MEANS}")


def back_up(settings: Settings, file: Path, now: datetime, with_keys: bool) -> Examined:
    """Make `file`, whole or not at all; what is in it. Raises `NotCopied`, `LogError`, `OSError`."""
    refuse_unless_embedded(settings)
    if file.exists():
        raise NotCopied(f"{file} exists already")
    staging = Path(tempfile.mkdtemp(prefix=f".{file.name}.", dir=file.absolute().parent))  # mode 0700
    try:
        members: dict[str, Path | bytes] = {LOG: staging / LOG, VAULT: staging / VAULT}
        copy_log(settings.log_folder, staging)
        copy_vault(settings.read_models_url, staging / VAULT)
        found = examine(staging, staging / VAULT)
        if with_keys:
            members.update(_keys(settings, staging / VAULT))
        pack(staging / "whole", Manifest(version=VERSION, made_at=now, facts=found.facts), members)
        _name(staging / "whole", file)
        sync(file.absolute().parent)
        return found
    finally:
        shutil.rmtree(staging)


def _name(made: Path, file: Path) -> None:
    """Give what was made its name; nothing that has it by now, as another backup may, is replaced. Raises `NotCopied`."""
    try:
        try:
            os.link(made, file)
        except FileExistsError:
            raise
        except OSError:  # a file system without links: the name is taken first
            file.touch(0o600, exist_ok=False)
            try:
                made.rename(file)
            except OSError:
                file.unlink()
                raise
    except FileExistsError:
        raise NotCopied(f"{file} exists already") from None


def copy_vault(read_models_url: str, file: Path) -> None:
    """Copy the sealed secrets into a new database. Raises `NotCopied`."""
    source_file = Path(make_url(read_models_url).database or "")
    if not source_file.exists():
        raise NotCopied(f"there is no vault: {source_file} is absent")
    file.touch(mode=0o600)
    source, target = open_reader(read_models_url), create_engine(URL.create("sqlite", database=str(file)), hide_parameters=True)
    try:
        copy_sealed(source, target)
    except SQLAlchemyError as error:
        raise NotCopied(f"the vault in {source_file} cannot be copied: {getattr(error, 'orig', error)}") from None
    finally:
        source.dispose()
        target.dispose()


def examine(log_folder: Path, vault: Path) -> Examined:
    """Read all of a log and a vault that nobody else uses. Raises `NotCopied` naming the first thing wrong."""
    try:
        held = contents_of(log_folder)
        checked = asyncio.run(_checked(log_folder))
    except LogError as error:
        raise NotCopied(f"the log is damaged: {error}") from None
    if not checked["intact"]:
        bad = checked["first_bad"]
        raise NotCopied(f"the log is damaged: {bad['position']} {bad['reason']}")
    chains = [Chain(c["topic"], c["shard"], c["events"], c["head"]) for c in checked["chains"]]
    secrets = _count(vault)
    positions = {f"{partition.topic}/{partition.shard}": end for partition, end in sorted(held.ends.items())}
    facts = Facts(held.shards, positions, {**held.rows, "vault_secrets": secrets}, chains)
    return Examined(facts, secrets, list(held.unfinished_runs))


async def _checked(log_folder: Path) -> Mapping[str, Any]:
    log = await SqliteLog.read_only(log_folder)
    try:
        return await LogCheck(log.reader).run()
    finally:
        await log.close()


def _count(vault: Path) -> int:
    engine = open_reader(sqlite_url(vault))
    try:
        return count_secrets(engine)
    except SQLAlchemyError as error:
        raise NotCopied(f"the vault is damaged: {getattr(error, 'orig', error)}") from None
    finally:
        engine.dispose()


def _keys(settings: Settings, vault: Path) -> Mapping[str, bytes]:
    """The master key in use and the first administrator's password, as the files that the data folder keeps them in."""
    given, kept = settings.master_key, settings.home / master_key.FILE
    if given is None and not kept.exists():
        raise NotCopied(f"--with-keys: there is no master key in OPSCONDUCTOR_MASTER_KEY or {kept}")
    text = given.get_secret_value().strip() if given else kept.read_text().strip()
    check_key(text, vault)
    keys = {MASTER_KEY: text.encode() + b"\n"}
    password = settings.home / PASSWORD_FILE
    return {**keys, ADMIN_PASSWORD: password.read_bytes()} if password.exists() else keys


def check_key(text: str, vault: Path) -> None:
    """Raise `NotCopied` unless these master keys open every secret in `vault`; the data keys of all of them are tried."""
    engine = open_reader(sqlite_url(vault))
    try:
        masters = master_key.given(text)
        unopened = rotation.check_against(engine, KeyRing(lambda: masters))
    except master_key.BadMasterKey as error:
        raise NotCopied(f"the master key does not open these secrets: {error}") from None
    except SQLAlchemyError as error:
        raise NotCopied(f"the vault is damaged: {getattr(error, 'orig', error)}") from None
    finally:
        engine.dispose()
    if unopened:
        raise NotCopied(
            f"the master key does not open these secrets: they are under master key {unopened}; a backup from before a rotation"
            " needs the key of that time, also when it was retired since"
        )


def sync(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""How does a backup become a data folder again? Beside its place, and only there once all of it has been read and found right.

What is wrong with a backup is found in a folder that is then erased: a refusal leaves nothing behind and touches nothing.
"""

import os
import shutil
import tempfile
from pathlib import Path

from infra.sql.file_url import sqlite_url
from infra.sqlite.lock import LOCK_FILE, FolderLock
from infra.vaults import master_key
from infra.wiring.archive import ADMIN_PASSWORD, LOG, MASTER_KEY, VAULT, BadBackup, unpack
from infra.wiring.backup import Examined, NotCopied, check_key, examine, refuse_unless_embedded, sync
from infra.wiring.first_administrator import PASSWORD_FILE
from infra.wiring.settings import Settings

_LOG_FOLDER, _READ_MODELS = "log", "read-models.db"


def restore(settings: Settings, file: Path) -> tuple[Examined, bool]:
    """Make the data folder `settings.home` from a backup; what is in it, and whether its master key is.

    Raises `NotCopied`, `BadBackup`, `FolderInUse`, `OSError`; there is no new folder then.
    """
    refuse_unless_embedded(settings)
    home = settings.home
    if settings.log_folder != home / _LOG_FOLDER or settings.read_models_url != sqlite_url(home / _READ_MODELS):
        raise NotCopied("a whole data folder is restored: unset OPSCONDUCTOR_LOG_URL and OPSCONDUCTOR_DATABASE_URL")
    _refuse_used(home)
    home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{home.name}.restoring-", dir=home.parent))  # mode 0700
    try:
        found, with_key = _unpacked(settings, file, staging)
        for folder in (staging / _LOG_FOLDER, staging, home.parent):
            sync(folder)
        staging.rename(home)  # onto an empty folder at most: a server that began there meanwhile makes this fail
        sync(home.parent)
        return found, with_key
    except BaseException:
        shutil.rmtree(staging)
        raise


def _refuse_used(home: Path) -> None:
    if home.is_mount():
        raise NotCopied(f"{home} is a mount point, which no folder can take the place of: restore into a folder below it")
    if home.is_dir() and any(home.iterdir()):
        log = home / _LOG_FOLDER
        if (log / LOCK_FILE).exists():
            FolderLock(log).release()
        raise NotCopied(f"{home} is not empty: move it away, or restore to another folder with --home")
    if home.exists() and not home.is_dir():
        raise NotCopied(f"{home} is no folder")


def _unpacked(settings: Settings, file: Path, staging: Path) -> tuple[Examined, bool]:
    (staging / _LOG_FOLDER).mkdir(mode=0o700)
    vault, key = staging / _READ_MODELS, staging / master_key.FILE
    places = {LOG: staging / _LOG_FOLDER / LOG, VAULT: vault, MASTER_KEY: key, ADMIN_PASSWORD: staging / PASSWORD_FILE}
    manifest = unpack(file, places)
    found = examine(staging / _LOG_FOLDER, vault)
    if found.facts != manifest.facts:
        raise BadBackup("the log and the vault do not hold what the manifest says")
    given = settings.master_key
    if MASTER_KEY in manifest.members:
        check_key(key.read_text(), vault)
    if given is not None:
        check_key(given.get_secret_value(), vault)
    for member in manifest.members:
        _to_disk(places[member])
    return found, MASTER_KEY in manifest.members or given is not None


def _to_disk(file: Path) -> None:
    with file.open("rb") as kept:
        os.fsync(kept.fileno())

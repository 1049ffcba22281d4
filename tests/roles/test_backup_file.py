"""Is a backup that was cut off, altered or made up by somebody refused, with nothing left behind? (HAZARDS §4 case 34)"""

import asyncio
import hashlib
import io
import json
import random
import sqlite3
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api.tokens import KEY_BOUND_TO, KEY_ID
from domain.audit.hash_chain import GENESIS
from infra.sql.engine import open_engine
from infra.sqlite.connections import LOG_FILE
from infra.sqlite.log import SqliteLog
from infra.vaults import master_key
from infra.vaults.key_ring import KeyRing
from infra.vaults.sql_vault import SqlVault
from infra.wiring import backup as backing_up
from infra.wiring import restore as restoring
from infra.wiring.archive import FORMAT, LOG, MANIFEST, MANIFEST_SUM, VAULT, BadBackup
from infra.wiring.backup import NotCopied, NotEmbedded, back_up
from infra.wiring.restore import restore
from infra.wiring.settings import Settings
from schemas.event_envelope import EventEnvelope, hash_of
from schemas.partitioning import shard_of
from tests.cli.full_device import FULL, onto_full
from tests.contracts.records import command, event, outcome

FLIPS, CUTS = 150, 40
SHARDS = 4

Members = dict[str, bytes]


def settings_of(home: Path) -> Settings:
    return Settings(home=home, log_url="", database_url="", master_key=None)


async def _fill(home: Path) -> None:
    """A log with sixty events in proper chains, and a vault with the secret that every installation has."""
    log = await SqliteLog.open(home / "log", SHARDS)
    owner = log.owned_shards("one")
    for n in range(60):
        await log.sender.send(command(n % 20))
    heads, versions = dict[int, str](), dict[str, int]()
    while (taken := await owner.take(100, 0.05)).commands:
        causes = [one.body for one in taken.commands]
        events = [_chained(event(cause), heads, versions) for cause in causes]
        await owner.commit(taken, events, [outcome(cause) for cause in causes])
    await log.close()
    engine = open_engine(f"sqlite:///{home / 'read-models.db'}")
    vault = SqlVault(engine, engine, KeyRing(lambda: master_key.kept_in(home)))
    vault.create_tables()
    await vault.seal(KEY_ID, KEY_BOUND_TO, b"signing key")
    await vault.close()
    engine.dispose()


def _chained(made: EventEnvelope, heads: dict[int, str], versions: dict[str, int]) -> EventEnvelope:
    shard = shard_of(made.stream, SHARDS)
    versions[made.stream] = versions.get(made.stream, 0) + 1
    made = replace(made, version=versions[made.stream], previous_hash=heads.get(shard, GENESIS))
    heads[shard] = hash_of(made)
    return replace(made, hash=heads[shard])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup that is whole."""
    folder = tmp_path_factory.mktemp("good")
    asyncio.run(_fill(folder / "home"))
    back_up(settings_of(folder / "home"), folder / "good.tar", datetime.now(UTC), with_keys=True)
    return folder / "good.tar"


def opened(file: Path) -> Members:
    with tarfile.open(file) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def packed(file: Path, *members: tarfile.TarInfo | tuple[str, bytes]) -> Path:
    """A tar archive of these, in this order; what is not just a name and content is taken as it is."""
    with tarfile.open(file, "w", format=tarfile.GNU_FORMAT) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return file


def with_manifest(members: Members, /, **changes: Any) -> Members:
    """The members under a manifest that says of them what is so, and `changes`."""
    said = json.loads(members[MANIFEST])
    files = {name: content for name, content in members.items() if name not in (MANIFEST, MANIFEST_SUM)}
    said["members"] = {n: {"size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in files.items()}
    raw = json.dumps({**said, **changes}).encode()
    return {MANIFEST: raw, MANIFEST_SUM: f"{hashlib.sha256(raw).hexdigest()}  {MANIFEST}\n".encode(), **files}


def in_log(members: Members, folder: Path, *statements: str) -> Members:
    """The members with a log that was changed by somebody who then made manifest and hashes fit."""
    file = folder / "altered.sqlite3"
    file.write_bytes(members[LOG])
    connection = sqlite3.connect(file, isolation_level=None)
    for statement in statements:
        assert connection.execute(statement).rowcount
    connection.close()
    return with_manifest({**members, LOG: file.read_bytes()})


def refused(file: Path, folder: Path) -> str:
    """Why the backup is refused; nothing may be left behind."""
    home = folder / "home"
    before = sorted(folder.iterdir())
    with pytest.raises((BadBackup, NotCopied)) as why:
        restore(settings_of(home), file)
    assert sorted(folder.iterdir()) == before
    return str(why.value)


def test_a_backup_that_is_whole_is_restored(good: Path, tmp_path: Path) -> None:
    found, with_key = restore(settings_of(tmp_path / "home"), good)
    assert (found.events, found.secrets, with_key) == (60, 1, True)
    assert (tmp_path / "home" / "log" / LOG_FILE).read_bytes() == opened(good)[LOG]
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    (tmp_path / "empty").mkdir()
    restore(settings_of(tmp_path / "empty"), good)


def test_a_backup_cut_off_anywhere_is_refused(good: Path, tmp_path: Path) -> None:
    whole = good.read_bytes()
    end = len(whole) - len(whole[-20_000:]) + len(whole[-20_000:].rstrip(b"\0"))
    dice = random.Random(9)
    for size in [0, 1, 511, 512, 513, end - 1, *(dice.randrange(end) for _ in range(CUTS))]:
        (tmp_path / "cut.tar").write_bytes(whole[:size])
        assert "cut off" in refused(tmp_path / "cut.tar", tmp_path)


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(good: Path, tmp_path: Path) -> None:
    whole, dice = good.read_bytes(), random.Random(10)
    harmless = 0
    for n in range(FLIPS):
        place = dice.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << dice.randrange(8)
        (tmp_path / "flipped.tar").write_bytes(flipped)
        home = tmp_path / f"home-{n}"
        try:
            restore(settings_of(home), tmp_path / "flipped.tar")
        except (BadBackup, NotCopied):
            assert not home.exists()
            continue
        harmless += 1  # in the padding between members
        assert (home / "log" / LOG_FILE).read_bytes() == opened(good)[LOG]
    print(f"{FLIPS - harmless} of {FLIPS} flips refused")
    assert harmless < FLIPS / 3


def _link(kind: bytes) -> Callable[[Members], list[Any]]:
    def made(members: Members) -> list[Any]:
        info = tarfile.TarInfo(VAULT)
        info.type, info.linkname = kind, "/etc/passwd"
        return [*list(members.items())[:3], info]

    return made


def _named(name: str) -> Callable[[Members], list[Any]]:
    return lambda members: [*list(members.items())[:3], (name, members[VAULT])]


HOSTILE: Mapping[str, Callable[[Members], list[Any]]] = {
    "a path upwards": _named("../../vault.sqlite3"),
    "an absolute path": _named("/tmp/vault.sqlite3"),
    "a symbolic link": _link(tarfile.SYMTYPE),
    "a hard link": _link(tarfile.LNKTYPE),
    "a device": _link(tarfile.CHRTYPE),
    "a pipe": _link(tarfile.FIFOTYPE),
    "a folder": _link(tarfile.DIRTYPE),
    "a sparse file": _link(tarfile.GNUTYPE_SPARSE),
    "a member twice": lambda members: [*members.items(), (LOG, members[LOG])],
    "one member in another's place": lambda members: [*list(members.items())[:2], (VAULT, members[VAULT]), (LOG, members[LOG])],
    "a member more than the manifest names": lambda members: [*members.items(), ("more", b"more")],
    "no manifest": lambda members: list(members.items())[2:],
    "an empty archive": lambda members: [],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_archive_with_anything_but_the_expected_plain_files_is_refused(good: Path, tmp_path: Path, name: str) -> None:
    file = packed(tmp_path / "hostile.tar", *HOSTILE[name](opened(good)))
    why = refused(file, tmp_path)
    assert any(reason in why for reason in ("should be there is", "follows the last member", "there is no file's header")), why


def test_extended_headers_and_compressed_archives_are_refused(good: Path, tmp_path: Path) -> None:
    long = tarfile.TarInfo("x" * 300)
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(tmp_path / "long.tar", "w", format=form) as archive:
            archive.addfile(long)
        assert "should be there is" in refused(tmp_path / "long.tar", tmp_path)
    with tarfile.open(tmp_path / "zeros.tar.gz", "w:gz") as archive:
        for member in opened(good).items():
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))
    refused(tmp_path / "zeros.tar.gz", tmp_path)


def test_a_manifest_that_says_something_else_is_refused(good: Path, tmp_path: Path) -> None:
    members = opened(good)
    said = json.loads(members[MANIFEST])
    cases = {
        f"format {FORMAT + 1}": {"format": FORMAT + 1},
        "not a manifest": {"facts": 7},
        "other members": {"members": {LOG: said["members"][LOG]}},
        "do not hold what the manifest says": {"facts": {**said["facts"], "rows": {**said["facts"]["rows"], "records": 1}}},
    }
    for expected, changes in cases.items():
        file = packed(tmp_path / "said.tar", *with_manifest(members, **changes).items())
        assert expected in refused(file, tmp_path)
    large = packed(tmp_path / "large.tar", (MANIFEST, b" " * (4 * 1024 * 1024 + 1)))
    assert "too large" in refused(large, tmp_path)


LARGEST = "(SELECT max(id) FROM records WHERE CAST(headers AS TEXT) LIKE '%ce_hash%')"


def test_a_log_that_was_altered_and_packed_anew_is_named_at_the_event(good: Path, tmp_path: Path) -> None:
    members = opened(good)
    cases = {
        "its hash is not that of what it says": f"UPDATE records SET value = CAST('{{\"a\": 1}}' AS BLOB) WHERE id = {LARGEST}",
        "lacks 1 records": f"DELETE FROM records WHERE id = {LARGEST} - 1",
        "outcomes are not there": "UPDATE outcome_ids SET record = 1",
        "is consumed up to": "UPDATE consumed SET next = next + 1000",
    }
    for expected, statement in cases.items():
        file = packed(tmp_path / "altered.tar", *in_log(members, tmp_path, statement).items())
        (tmp_path / "altered.sqlite3").unlink()
        assert expected in refused(file, tmp_path)
    page = bytearray(members[LOG])
    page[8192 : 8192 + 100] = bytes(100)
    file = packed(tmp_path / "page.tar", *with_manifest({**members, LOG: bytes(page)}).items())
    assert "damaged" in refused(file, tmp_path)


def test_data_that_lies_elsewhere_and_places_that_cannot_be_taken_are_refused(good: Path, tmp_path: Path) -> None:
    postgres = Settings(home=tmp_path / "home", log_url="", database_url="postgresql://127.0.0.1/ops", master_key=None)
    for call in (lambda: back_up(postgres, tmp_path / "b.tar", datetime.now(UTC), False), lambda: restore(postgres, good)):
        with pytest.raises(NotEmbedded, match="Postgres"):
            call()
    elsewhere = Settings(home=tmp_path / "home", log_url=f"sqlite://{tmp_path}/log", database_url="", master_key=None)
    with pytest.raises(NotCopied, match="OPSCONDUCTOR_LOG_URL"):
        restore(elsewhere, good)
    with pytest.raises(NotCopied, match="mount point"):
        restore(settings_of(Path("/proc")), good)
    (tmp_path / "file").touch()
    with pytest.raises(NotCopied, match="no folder"):
        restore(settings_of(tmp_path / "file"), good)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_restore_that_is_interrupted_leaves_nothing(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(restoring, "examine", interrupted)
    with pytest.raises(KeyboardInterrupt):
        restore(settings_of(tmp_path / "home"), good)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_began_in_the_folder_meanwhile_keeps_it(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = restoring.examine

    def meanwhile(*where: Path) -> Any:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "of somebody else").touch()
        return real(*where)

    monkeypatch.setattr(restoring, "examine", meanwhile)
    with pytest.raises(OSError, match="not empty"):
        restore(settings_of(tmp_path / "home"), good)
    assert [path.name for path in tmp_path.rglob("*")] == ["home", "of somebody else"]


@pytest.mark.parametrize("links", [True, False], ids=["with-links", "without-links"])
def test_of_two_backups_at_once_under_one_name_the_one_that_ends_later_replaces_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    asyncio.run(_fill(tmp_path / "home"))
    file, pack = tmp_path / "one.tar", backing_up.pack

    def packed_after_another(*given: Any) -> None:
        monkeypatch.setattr(backing_up, "pack", pack)
        back_up(settings_of(tmp_path / "home"), file, datetime.now(UTC), with_keys=True)
        pack(*given)

    def no_link(*_: Any) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(backing_up, "pack", packed_after_another)
    if not links:
        monkeypatch.setattr(backing_up.os, "link", no_link)
    with pytest.raises(NotCopied, match="exists already"):
        back_up(settings_of(tmp_path / "home"), file, datetime.now(UTC), with_keys=False)
    with tarfile.open(file) as archive:
        assert "master-key" in archive.getnames(), "the other one's"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert file.stat().st_mode & 0o777 == 0o600 and file.stat().st_nlink == 1


@pytest.mark.parametrize("form", ["json", "table"])
def test_a_backup_that_cannot_be_told_is_there_all_the_same(form: str, good: Path, tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "backup"
    said = onto_full(home, "restore", str(good), "-o", form)
    assert said.endswith(f"{home} is restored, but {FULL}") and (home / "log").exists()
    said = onto_full(home, "backup", str(file), "-o", form)
    assert said.endswith(f"the backup {file} is made and whole, but {FULL}") and "no backup was made" not in said
    restore(settings_of(tmp_path / "again"), file)
    assert onto_full(home, "vault", "status", "-o", form) == FULL

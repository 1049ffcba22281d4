"""Does every secret stay readable while the master key is changed, whoever seals, opens, destroys or is killed meanwhile?"""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, insert, make_url, select, text, update

from infra.deploy.services.native_process import tied_to_us
from infra.sql.engine import create_all, open_engine
from infra.vaults import master_key, rotation
from infra.vaults.key_ring import KeyRing
from infra.vaults.master_key import BadMasterKey, vault_keys
from infra.vaults.sealed import MasterKeyAbsent, _bound, _encrypted
from infra.vaults.sql_vault import SqlVault
from infra.vaults.tables import master_keys, metadata, secrets
from schemas.vault import VaultError
from tests.support.eventually import eventually

OLD, NEW = b"o" * 32, b"n" * 32


class Known:
    """The master keys of one process, as its file would hold them."""

    def __init__(self, *keys: bytes) -> None:
        self.masters = dict(enumerate(keys, 1))
        self.ring = KeyRing(lambda: self.masters)


@pytest.fixture(params=["sqlite", "postgres"])
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path / 'vault.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    engine = open_engine(url)
    with engine.begin() as connection:
        metadata.drop_all(connection)
    create_all(engine)
    yield engine
    with engine.begin() as connection:
        metadata.drop_all(connection)
    engine.dispose()


def vault_of(writer: Engine, known: Known) -> SqlVault:
    vault = SqlVault(writer, writer, known.ring)
    vault.create_tables()
    return vault


def nothing() -> dict[str, str]:
    return {}


def versions(writer: Engine) -> dict[int, int]:
    with writer.begin() as connection:
        return dict(rotation.rows_of(connection).by_version)


async def test_after_a_rotation_every_secret_is_under_the_new_key_and_opens(writer):
    known = Known(OLD)
    vault = vault_of(writer, known)
    for n in range(rotation.AT_ONCE + 7):
        await vault.seal(f"s{n}", "x", b"%d" % n)
    known.masters = {1: OLD, 2: NEW}
    rotation.bring_into_force(writer, known.ring, 2)
    rotation.bring_into_force(writer, known.ring, 2)
    assert versions(writer) == {1: rotation.AT_ONCE + 7}
    rotation.wrap_all(writer, known.ring, nothing)
    assert versions(writer) == {2: rotation.AT_ONCE + 7} and rotation.check(writer, known.ring, nothing) == {}
    only_new = SqlVault(writer, writer, KeyRing(lambda: {2: NEW}))
    assert [await only_new.open(f"s{n}", "x") for n in range(9)] == [b"%d" % n for n in range(9)]
    for each in (vault, only_new):
        await each.close()


async def test_a_process_that_learnt_of_no_new_key_yet_seals_and_opens_as_soon_as_its_file_has_it(writer):
    one, other = Known(OLD), Known(OLD, NEW)
    vault, ahead = vault_of(writer, one), vault_of(writer, other)
    await vault.seal("before", "x", b"1")
    rotation.bring_into_force(writer, other.ring, 2)
    await ahead.seal("ahead", "x", b"2")
    with pytest.raises(MasterKeyAbsent):
        await vault.seal("never", "x", b"under the old key: nobody would wrap it anew")
    with pytest.raises(VaultError):
        await vault.open("ahead", "x")
    one.masters = {1: OLD, 2: NEW}
    assert await vault.open("ahead", "x") == b"2"
    await vault.seal("after", "x", b"3")
    assert versions(writer) == {1: 1, 2: 2}
    for each in (vault, ahead):
        await each.close()


async def test_a_secret_destroyed_while_its_data_key_is_wrapped_anew_stays_destroyed(writer, monkeypatch):
    known = Known(OLD)
    vault = vault_of(writer, known)
    for ident in ("a", "b"):
        await vault.seal(ident, "x", b"secret")
    known.masters = {1: OLD, 2: NEW}
    rotation.bring_into_force(writer, known.ring, 2)
    wrapped_anew = rotation.wrapped_anew

    def destroys_meanwhile(*given: Any) -> Any:
        with writer.begin() as connection:
            connection.execute(delete(secrets).where(secrets.c.secret_id == "a"))
        return wrapped_anew(*given)

    monkeypatch.setattr(rotation, "wrapped_anew", destroys_meanwhile)
    rotation.wrap_all(writer, known.ring, nothing)
    with writer.begin() as connection:
        assert [row.secret_id for row in connection.execute(select(secrets))] == ["b"]
    await vault.close()


@pytest.mark.parametrize("writer", ["postgres"], indirect=True)  # on SQLite there is one writer
async def test_what_is_being_sealed_when_a_key_comes_into_force_is_not_overlooked(writer):
    """The new key waits for a transaction that has read the old one, so the look at all rows that follows is final."""
    known = Known(OLD, NEW)
    with writer.begin() as connection:
        metadata.create_all(connection)
        connection.execute(insert(master_keys).values(version=1, proof=known.ring.proof_of(1)))
    vault = SqlVault(writer, writer, known.ring)
    began, go_on, of = threading.Event(), threading.Event(), known.ring.holding

    def slow(version: int) -> Any:
        began.set()
        go_on.wait(60)
        return of(version)

    known.ring.holding = slow  # type: ignore[method-assign]
    sealing = asyncio.create_task(vault.seal("s", "x", b"1"))
    await asyncio.to_thread(began.wait, 10)
    known.ring.holding = of  # type: ignore[method-assign]
    forcing = asyncio.create_task(asyncio.to_thread(rotation.bring_into_force, writer, known.ring, 2))
    done, _ = await asyncio.wait({forcing}, timeout=0.5)
    assert not done, "the key came into force while a secret was being sealed under the old one"
    go_on.set()
    await asyncio.gather(sealing, forcing)
    rotation.wrap_all(writer, known.ring, nothing)
    assert versions(writer) == {2: 1}
    await vault.close()


async def test_rows_from_before_the_data_key_was_free_of_the_purpose_open_and_are_wrapped_anew_with_it(writer):
    known = Known(OLD)
    vault = vault_of(writer, known)
    await vault.seal("old", "user/admin", b"secret")
    with writer.begin() as connection:
        row = connection.execute(select(secrets)).one()
        data_key = rotation.data_key_of(vault_keys({1: OLD}), "old", None, rotation.Sealed(1, row.wrapped, row.sealed))
        first_form = _encrypted(vault_keys({1: OLD}).of(1), data_key, _bound("data key", "old", "user/admin", 1))
        connection.execute(update(secrets).values(wrapped=first_form))
    assert await vault.open("old", "user/admin") == b"secret"
    known.masters = {1: OLD, 2: NEW}
    rotation.bring_into_force(writer, known.ring, 2)
    rotation.wrap_all(writer, known.ring, nothing)
    assert versions(writer) == {1: 1} and rotation.check(writer, known.ring, nothing) == {"old": 1}, "nobody knows what it is for"
    rotation.wrap_all(writer, known.ring, lambda: {"old": "user/admin"})
    assert versions(writer) == {2: 1} and await vault.open("old", "user/admin") == b"secret"
    await vault.close()


async def test_a_process_with_a_wrong_or_missing_master_key_does_not_start(writer):
    known = Known(OLD)
    vault = vault_of(writer, known)
    await vault.seal("api-signing-key", "api/signing-key", b"1")
    for wrong in (Known(NEW), Known(NEW, OLD)):
        with pytest.raises(BadMasterKey):
            vault_of(writer, wrong)
    rotation.bring_into_force(writer, Known(OLD, NEW).ring, 2)
    with pytest.raises(BadMasterKey, match="master key 2 is not here"):
        vault_of(writer, Known(OLD))
    with pytest.raises(BadMasterKey, match="master key 1 is not here"):
        SqlVault(writer, writer, KeyRing(lambda: {2: NEW})).create_tables()
    with writer.begin() as connection:
        connection.execute(delete(master_keys))  # as it was before there was this table
    with pytest.raises(BadMasterKey, match="opens none"):
        vault_of(writer, Known(NEW))
    vault_of(writer, Known(OLD))
    await vault.close()


# --- with real processes ---------------------------------------------------------------------------------------------

USES = """
import asyncio, sys
from pathlib import Path
from infra.sql.engine import open_engine, open_reader
from infra.vaults import master_key
from infra.vaults.key_ring import KeyRing
from infra.vaults.sql_vault import SqlVault

async def use(url, home):
    vault = SqlVault(open_engine(url), open_reader(url), KeyRing(lambda: master_key.read(home / master_key.FILE)))
    n = 0
    while True:
        await vault.seal(f"live-{n:05}", "x", b"%d" % n)
        for earlier in {n, n // 2, n // 7}:
            assert await vault.open(f"live-{earlier:05}", "x") == b"%d" % earlier
        print(n, flush=True)
        n += 1

asyncio.run(use(sys.argv[1], Path(sys.argv[2])))
"""


@pytest.mark.services
def test_a_rotation_killed_again_and_again_under_load_loses_no_secret(postgres_url: str, tmp_path: Path) -> None:
    name = f"rotated_{os.getpid()}"
    admin = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    try:
        _killed_under_load(url, tmp_path)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def _killed_under_load(url: str, home: Path) -> None:
    master_key.kept_in(home)
    writer = open_engine(url)
    create_all(writer)
    ring = KeyRing(lambda: master_key.read(home / master_key.FILE))
    vault = SqlVault(writer, writer, ring)
    vault.create_tables()
    asyncio.run(_seal_many(vault, 600))
    output = home / "live"
    with output.open("wb") as out:
        using = subprocess.Popen(tied_to_us([sys.executable, "-c", USES, url, str(home)]), stdout=out, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: output.stat().st_size > 50, within=60)
        kills = _rotate_with_kills(url, home, writer)
        used = output.stat().st_size
        eventually(lambda: output.stat().st_size > used, within=60)
        assert using.poll() is None, output.read_text()[-2000:]
    finally:
        using.kill()
        using.wait()
    assert kills >= 3, "the rotation was over before it could be killed"
    assert versions(writer).keys() == {2}
    done = _rotation(url, home, "--retire")
    assert done.wait(60) == 0, (home / "rotation").read_text()
    assert set(master_key.read(home / master_key.FILE)) == {2}
    lines = [line for line in output.read_text().splitlines() if line.isdigit()]
    asyncio.run(_open_all(SqlVault(writer, writer, KeyRing(lambda: master_key.read(home / master_key.FILE))), 600, len(lines)))
    writer.dispose()


async def _seal_many(vault: SqlVault, count: int) -> None:
    for begin in range(0, count, 100):
        await asyncio.gather(*(vault.seal(f"kept-{n:05}", "x", b"%d" % n) for n in range(begin, begin + 100)))


async def _open_all(vault: SqlVault, kept: int, live: int) -> None:
    assert live > 20
    for kind, count in (("kept", kept), ("live", live)):
        for n in range(count):
            assert await vault.open(f"{kind}-{n:05}", "x") == b"%d" % n
    await vault.close()


def _rotation(url: str, home: Path, *more: str) -> subprocess.Popen[bytes]:
    program = str(Path(sys.executable).parent / "opsconductor")
    environment = {**os.environ, "OPSCONDUCTOR_HOME": str(home), "OPSCONDUCTOR_DATABASE_URL": url}
    environment.pop("OPSCONDUCTOR_MASTER_KEY", None)
    with (home / "rotation").open("ab") as out:
        command = tied_to_us([program, "vault", "rotate-master-key", *more])
        return subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)


def _rotate_with_kills(url: str, home: Path, writer: Engine) -> int:
    """Begin, kill in the midst, begin again until it is over; how often it was killed while there was something to do."""
    kills = 0
    for _ in range(20):
        before, running = versions(writer).get(2, 0), _rotation(url, home)
        while running.poll() is None and versions(writer).get(2, 0) < before + 150:
            time.sleep(0.01)
        if running.poll() is None and versions(writer).get(1, 0) and kills < 3:
            running.kill()
            kills += 1
        elif running.wait(60) == 0:
            return kills
    raise AssertionError((home / "rotation").read_text()[-2000:])

"""What every vault holds to, on SQLite and on Postgres."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import event, select, update

from infra.sql.engine import open_engine, open_reader
from infra.vaults.key_ring import KeyRing
from infra.vaults.master_key import BadMasterKey, derived, given, kept_in, replace, vault_keys, written
from infra.vaults.sealed import MasterKeyAbsent, MasterKeys, opened, seal, wrapped_anew
from infra.vaults.sql_vault import SqlVault
from infra.vaults.tables import secrets
from schemas.vault import SecretUnavailable, VaultError

MASTERS = {1: b"k" * 32}
KEYS = vault_keys(MASTERS)


def ring() -> KeyRing:
    return KeyRing(lambda: MASTERS)


@pytest_asyncio.fixture(params=["sqlite", "postgres"])
async def vault(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlVault]:
    on_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'vault.db'}" if on_sqlite else request.getfixturevalue("postgres_url")
    writer = open_engine(url)
    vault = SqlVault(writer, writer, ring())
    vault.create_tables()
    vault.create_tables()
    reader = open_reader(url)
    vault = SqlVault(writer, reader, ring())
    yield vault
    await vault.close()
    writer.dispose()
    reader.dispose()


def some_id() -> str:
    return f"test-{uuid.uuid4()}"


async def test_what_is_sealed_opens_for_what_it_is_bound_to_and_for_nothing_else(vault):
    ident = some_id()
    await vault.seal(ident, "credential/a@1", b"\x00secret\xff")
    assert await vault.open(ident, "credential/a@1") == b"\x00secret\xff"
    for bound_to in ("credential/a@2", "credential/b@1", ""):
        with pytest.raises(SecretUnavailable) as refused:
            await vault.open(ident, bound_to)
        assert "secret\xff" not in str(refused.value)
    with pytest.raises(SecretUnavailable):
        await vault.open(some_id(), "credential/a@1")


async def test_the_first_secret_under_an_id_stays(vault):
    ident = some_id()
    await asyncio.gather(*(vault.seal(ident, "x", b"%d" % n) for n in range(8)))
    first = await vault.open(ident, "x")
    await vault.seal(ident, "x", b"another")
    assert await vault.open(ident, "x") == first


async def test_a_destroyed_secret_is_gone(vault):
    ident = some_id()
    await vault.seal(ident, "x", b"secret")
    await vault.destroy(ident)
    await vault.destroy(ident)
    with pytest.raises(SecretUnavailable):
        await vault.open(ident, "x")


async def test_several_secrets_are_opened_by_one_statement_without_those_that_do_not_open(vault):
    idents, absent, bound_otherwise = [some_id() for _ in range(20)], some_id(), some_id()
    for ident in (*idents, bound_otherwise):
        await vault.seal(ident, f"for {ident}", ident.encode())
    wanted = {ident: f"for {ident}" for ident in (*idents, absent)} | {bound_otherwise: "for another"}
    asked: list[str] = []
    event.listen(vault._reader, "before_cursor_execute", lambda *given: asked.append(given[2]))
    assert await vault.open_many(wanted) == {ident: ident.encode() for ident in idents}
    assert len([statement for statement in asked if "vault_secrets" in statement]) == 1
    assert await vault.open_many({}) == {}


async def test_nothing_in_clear_stands_in_the_table_and_a_changed_or_moved_row_does_not_open(vault):
    one, other = some_id(), some_id()
    await vault.seal(one, "x", b"S3cr3t-canary")
    await vault.seal(other, "x", b"S3cr3t-canary")
    with vault._writer.begin() as connection:
        rows = {row.secret_id: row for row in connection.execute(select(secrets).where(secrets.c.secret_id.in_([one, other])))}
        assert b"S3cr3t" not in b"".join(row.sealed + row.wrapped for row in rows.values())
        assert rows[one].sealed[12:] != rows[other].sealed[12:]
        moved = {"sealed": rows[one].sealed, "wrapped": rows[one].wrapped}
        connection.execute(update(secrets).where(secrets.c.secret_id == other).values(moved))
        flipped = rows[one].sealed[:-1] + bytes([rows[one].sealed[-1] ^ 1])
        connection.execute(update(secrets).where(secrets.c.secret_id == one).values(sealed=flipped))
    for ident in (one, other):
        with pytest.raises(SecretUnavailable):
            await vault.open(ident, "x")


async def test_a_database_that_is_not_there_is_an_error_that_says_nothing_of_the_secret(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path / 'absent' / 'vault.db'}")
    vault = SqlVault(engine, engine, ring())
    with pytest.raises(VaultError) as error:
        await vault.seal("id", "x", b"S3cr3t-canary")
    assert "S3cr3t" not in repr(error.value) and error.value.__cause__ is None
    await vault.close()


def test_after_a_new_master_key_old_secrets_open_and_new_ones_are_sealed_under_it():
    old = seal(KEYS, 1, "id", "x", b"old")
    both = MasterKeys({**KEYS.by_version, 2: b"n" * 32})
    new = seal(both, 2, "id", "x", b"new")
    assert (opened(both, "id", "x", old), opened(both, "id", "x", new), new.key_version) == (b"old", b"new", 2)
    with pytest.raises(MasterKeyAbsent):
        opened(KEYS, "id", "x", new)
    with pytest.raises(SecretUnavailable):
        opened(MasterKeys({1: b"z" * 32}), "id", "x", old)


def test_wrapped_anew_a_secret_opens_under_the_new_key_alone_and_for_its_id_and_purpose_alone():
    both = MasterKeys({**KEYS.by_version, 2: b"n" * 32})
    kept = wrapped_anew(both, 2, "id", None, seal(both, 1, "id", "x", b"secret"))
    only_new = MasterKeys({2: b"n" * 32})
    assert (kept.key_version, opened(only_new, "id", "x", kept)) == (2, b"secret")
    for ident, bound_to in (("other", "x"), ("id", "y")):
        with pytest.raises(SecretUnavailable):
            opened(only_new, ident, bound_to, kept)
    with pytest.raises(SecretUnavailable):
        wrapped_anew(both, 2, "other", None, seal(both, 1, "id", "x", b"secret"))


def test_the_master_key_is_generated_once_and_readable_by_its_owner_only(tmp_path):
    masters = kept_in(tmp_path)
    file = tmp_path / "master-key"
    assert len(masters[1]) == 32 and kept_in(tmp_path) == masters and file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["master-key"]
    assert derived(masters[1], "a") != derived(masters[1], "b") != masters[1] and vault_keys(masters).newest == 1
    assert ":" not in file.read_text(), "the only key stands alone, as it always did"
    file.chmod(0o644)
    with pytest.raises(BadMasterKey):
        kept_in(tmp_path)


def test_several_master_keys_stand_in_the_file_or_the_setting_by_version(tmp_path):
    masters = {1: b"a" * 32, 2: b"b" * 32, 10: b"c" * 32}
    replace(tmp_path / "master-key", masters)
    assert kept_in(tmp_path) == masters == given(written(masters).replace("\n", ","))
    assert [path.name for path in tmp_path.iterdir()] == ["master-key"]
    replace(tmp_path / "master-key", {2: b"b" * 32})
    assert kept_in(tmp_path) == {2: b"b" * 32}, "the only key left keeps its version"


TWICE = written({1: b"a" * 32, 2: b"b" * 32}) + written({1: b"a" * 32})


@pytest.mark.parametrize("text", ["", "short", "!" * 44, "QUFB", "0:" + "A" * 43 + "=", "x:" + "A" * 43 + "=", TWICE, "1:"])
def test_a_master_key_that_is_none_is_refused(text):
    with pytest.raises(BadMasterKey):
        given(text)

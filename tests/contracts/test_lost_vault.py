"""Is a vault that is gone told from one that is only being begun?"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

from infra.sql.engine import open_engine
from infra.vaults.key_ring import KeyRing
from infra.vaults.sql_vault import SqlVault
from infra.wiring import composition
from infra.wiring.composition import VaultLost
from infra.wiring.settings import Settings
from schemas.log import LogUnavailable
from tests.contracts.test_master_key_rotation import OLD

SETTINGS = Settings(database_url="postgresql://somebody:hidden@db/ops?sslpassword=hidden")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'vault.db'}")
    SqlVault(engine, engine, KeyRing(lambda: {1: OLD})).create_tables()
    yield engine
    engine.dispose()


async def looked_at(writer: Engine, monkeypatch: pytest.MonkeyPatch, has_users: Callable[..., Any]) -> None:
    monkeypatch.setattr(composition, "has_users", has_users)
    log: Any = SimpleNamespace(reader=None)
    await composition._refuse_lost_vault(SETTINGS, log, writer)


def seal(writer: Engine) -> SqlVault:
    return SqlVault(writer, writer, KeyRing(lambda: {1: OLD}))


async def test_users_without_any_secret_are_a_lost_vault_and_the_address_s_secrets_are_not_told(
    writer: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def has_users(_: object) -> bool:
        return True

    with pytest.raises(VaultLost, match="the vault in db/ops holds nothing") as told:
        await looked_at(writer, monkeypatch, has_users)
    assert "hidden" not in str(told.value) and "somebody" not in str(told.value)


async def test_an_administrator_who_is_made_while_it_is_looked_is_none(writer: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another role, whose password is sealed before its event: the look at the log comes between."""

    async def has_users(_: object) -> bool:
        await seal(writer).seal("s", "x", b"secret")
        return True

    await looked_at(writer, monkeypatch, has_users)


async def test_a_new_log_is_none(writer: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def has_users(_: object) -> bool:
        return False

    await looked_at(writer, monkeypatch, has_users)


async def test_a_log_that_does_not_answer_is_not_waited_for_for_ever(writer: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def has_users(_: object) -> bool:
        await asyncio.sleep(600)
        return True

    monkeypatch.setattr(composition, "_USERS_WITHIN_S", 0.1)
    with pytest.raises(LogUnavailable, match="in time"):
        await looked_at(writer, monkeypatch, has_users)

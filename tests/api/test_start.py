"""What does an API do that is started while the vault does not answer, or nobody is there yet?"""

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import create_engine, select

from api.app import create_app
from infra.sql.file_url import sqlite_url
from infra.wiring.role import api
from projections.tables import users
from schemas.vault import VaultError
from tests.api.server import serving


class Silent:
    """A vault that answers at the third time."""

    def __init__(self) -> None:
        self.asked = 0

    async def keys(self) -> str:
        self.asked += 1
        if self.asked < 3:
            raise VaultError("OperationalError")
        return "keys"


async def test_it_waits_until_the_vault_answers() -> None:
    vault = Silent()
    assert await api.answered(vault.keys, asyncio.Event(), every_s=0) == "keys"
    assert vault.asked == 3


async def test_it_gives_up_after_a_while_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "VAULT_WITHIN_S", -1)
    with pytest.raises(VaultError, match="the vault does not answer: OperationalError"):
        await api.answered(Silent().keys, asyncio.Event(), every_s=0)


async def test_it_does_not_wait_when_it_is_told_to_stop() -> None:
    vault, stop = Silent(), asyncio.Event()
    stop.set()
    with pytest.raises(VaultError):
        await api.answered(vault.keys, stop, every_s=0)
    assert vault.asked == 1


async def test_who_signs_in_before_the_first_administrator_is_made_waits_for_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        writer = create_engine(sqlite_url(server.database))
        with writer.begin() as connection:
            rows = [dict(row) for row in connection.execute(select(users)).mappings()]
            connection.execute(users.delete())
        new = create_app(server.given)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=new), base_url="http://test") as http:
            early = await http.get("/health/ready")
            assert (early.status_code, early.json()["checks"]["users"]) == (503, "unavailable")
            waiting = asyncio.create_task(replace(server, http=http).sign_in())
            assert not (await asyncio.wait({waiting}, timeout=0.5))[0], "nobody is there yet"
            with writer.begin() as connection:
                connection.execute(users.insert(), rows)
            assert (await waiting).status_code == 200
            assert (await http.get("/health/ready")).status_code == 200
        writer.dispose()


async def test_where_nobody_comes_a_sign_in_is_refused_after_a_while_as_ever(tmp_path: Path) -> None:
    async with serving(tmp_path, first_user_s=0.2) as server:
        writer = create_engine(sqlite_url(server.database))
        with writer.begin() as connection:
            connection.execute(users.delete())
        new = create_app(server.given)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=new), base_url="http://test") as http:
            assert (await replace(server, http=http).sign_in()).status_code == 401
        writer.dispose()

"""What does an API do that is started while the vault does not answer?"""

import asyncio

import pytest

from infra.wiring.role import api
from schemas.vault import VaultError


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

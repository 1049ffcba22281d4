"""What opens a target is looked up when it is needed: a rotated or revoked credential never opens one afterwards."""

import asyncio
import json
from typing import Any

import pytest

from processors.executor.inventory import CredentialEntry
from processors.executor.materials import Materials, Unusable
from schemas.vault import bound_to_credential
from tests.processors.fake_time import FakeClock, simulated


class Shelf:
    """An inventory and a vault of one credential; counts what it is asked."""

    def __init__(self) -> None:
        self.revision = 1
        self.is_revoked = False
        self.looks = 0
        self.openings: list[str] = []

    async def credential(self, name: str) -> CredentialEntry | None:
        self.looks += 1
        entry = None if self.is_revoked else CredentialEntry(name, "password", self.revision, f"s{self.revision}")
        await asyncio.sleep(0.01)
        return entry

    async def open(self, secret_id: str, bound_to: str) -> bytes:
        assert bound_to == bound_to_credential("key", self.revision)
        self.openings.append(secret_id)
        return json.dumps({"username": "ops", "password": f"password {secret_id}"}).encode()


def materials(shelf: Any) -> Materials:
    return Materials(shelf, shelf, FakeClock(), asyncio.sleep)


def test_a_rotated_credential_opens_nothing_with_its_old_secret_from_then_on():
    async def story() -> None:
        shelf = Shelf()
        asked = materials(shelf)
        assert (await asked.login("key")).password == "password s1"
        shelf.revision = 2
        assert (await asked.login("key")).password == "password s2"

    simulated(story())


def test_a_revoked_credential_opens_nothing_from_then_on():
    async def story() -> None:
        shelf = Shelf()
        asked = materials(shelf)
        await asked.login("key")
        shelf.is_revoked = True
        with pytest.raises(Unusable) as refused:
            await asked.login("key")
        assert refused.value.code == "credential_unavailable"

    simulated(story())


def test_who_asks_after_a_look_up_has_begun_gets_one_of_his_own():
    async def story() -> None:
        shelf = Shelf()
        asked = materials(shelf)
        first = asyncio.create_task(asked.login("key"))
        await asyncio.sleep(0.005)
        shelf.revision = 2
        assert (await asked.login("key")).fingerprint == "key@2"
        await asyncio.gather(first, return_exceptions=True)

    simulated(story())


def test_steps_that_start_together_share_one_look_up_and_the_secret_is_opened_once():
    async def story() -> None:
        shelf = Shelf()
        asked = materials(shelf)
        await asyncio.gather(*(asked.login("key") for _ in range(50)))
        await asyncio.gather(*(asked.login("key") for _ in range(50)))
        assert (shelf.looks, shelf.openings) == (2, ["s1"])

    simulated(story())

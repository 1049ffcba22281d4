"""What opens a target is looked up when it is needed: a rotated or revoked credential never opens one afterwards."""

import asyncio
import gc
import json
from typing import Any

import pytest

from processors.executor.connector import Login
from processors.executor.inventory import CredentialEntry, InventoryUnavailable
from processors.executor.materials import ASK_FOR_S, Materials, Unusable
from schemas.vault import VaultError, bound_to_credential
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


def test_a_look_up_that_fails_when_nobody_waits_for_it_any_more_is_no_error_of_the_server_s():
    class Away(Shelf):
        async def credential(self, name: str) -> CredentialEntry | None:
            await super().credential(name)
            raise ValueError("the look-up has a bug")

    async def story() -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        shelf = Away()
        step = asyncio.create_task(materials(shelf).login("key"))
        await asyncio.sleep(0.005)
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)
        del step  # its traceback holds what it waited for
        await asyncio.sleep(1)
        gc.collect()
        assert shelf.looks == 1 and told == []

    simulated(story())


def test_steps_that_start_together_share_one_look_up_and_the_secret_is_opened_once():
    async def story() -> None:
        shelf = Shelf()
        asked = materials(shelf)
        await asyncio.gather(*(asked.login("key") for _ in range(50)))
        await asyncio.gather(*(asked.login("key") for _ in range(50)))
        assert (shelf.looks, shelf.openings) == (2, ["s1"])

    simulated(story())


@pytest.mark.parametrize("away", ["vault", "read models"])
def test_all_who_wait_for_the_same_thing_ask_for_it_as_one(away: str):
    """Each began at another time, and each waits for as long as it would have alone."""

    class Away(Shelf):
        asked, until_s = 0, 20.0

        def answer(self, who: str) -> None:
            if who == away:
                self.asked += 1
                if asyncio.get_running_loop().time() < self.until_s:
                    raise VaultError("no answer") if who == "vault" else InventoryUnavailable("no answer")

        async def credential(self, name: str) -> CredentialEntry | None:
            self.answer("read models")
            return await super().credential(name)

        async def open(self, secret_id: str, bound_to: str) -> bytes:
            self.answer("vault")
            return await super().open(secret_id, bound_to)

    async def story() -> None:
        shelf = Away()
        asked = materials(shelf)

        async def asks(number: int) -> Login:
            await asyncio.sleep(number * 0.37)
            return await asked.login("key")

        logins = await asyncio.gather(*(asks(number) for number in range(50)))
        assert {login.password for login in logins} == {"password s1"}
        assert shelf.asked < 40, "50 would have asked a thousand times"
        assert asyncio.get_running_loop().time() < 22

    simulated(story())


def test_who_came_later_waits_on_when_those_before_have_given_up():
    async def story() -> None:
        shelf = Shelf()
        asked, opened_at = materials(shelf), 40.0
        opening = shelf.open

        async def open_late(secret_id: str, bound_to: str) -> bytes:
            if asyncio.get_running_loop().time() < opened_at:
                raise VaultError("no answer")
            return await opening(secret_id, bound_to)

        shelf.open = open_late  # type: ignore[method-assign]
        first = asyncio.create_task(asked.login("key"))
        await asyncio.sleep(15)
        second = asyncio.create_task(asked.login("key"))
        with pytest.raises(Unusable):
            await first
        assert ASK_FOR_S <= asyncio.get_running_loop().time() < ASK_FOR_S + 2
        assert (await second).password == "password s1"

    simulated(story())

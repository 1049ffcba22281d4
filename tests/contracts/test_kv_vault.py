"""Does a vault behind HTTP hold to what every vault holds to, and does nothing of it reach where it should not?

Against a stand-in process that speaks KV version 2 (`tests/support/kv_server.py`): the real program was not to be had.
"""

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from infra.deploy.services.native_process import tied_to_us
from infra.vaults import kv_vault
from infra.vaults.kv_vault import BadVaultAddress, KvSettings, KvVault
from schemas.vault import SecretUnavailable, VaultError
from tests.support.kv_server import NAMESPACE, ROLE_ID, SECRET_ID, TOKEN

SERVER = Path(__file__).parents[1] / "support" / "kv_server.py"
CANARY = b"S3cr3t-canary\x00\xff"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    process = subprocess.Popen(tied_to_us([sys.executable, str(SERVER)]), stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def steer(url: str, **how: Any) -> None:
    httpx2.post(f"{url}/steer", json=how, trust_env=False)


@pytest_asyncio.fixture(params=["token", "approle"])
async def vault(request: pytest.FixtureRequest, url: str) -> AsyncIterator[KvVault]:
    steer(url)
    role = {"role_id": ROLE_ID, "secret_id": SECRET_ID}
    made = KvVault(KvSettings(url=url, namespace=NAMESPACE, **({"token": TOKEN} if request.param == "token" else role)))
    yield made
    await made.close()
    steer(url)


def some_id() -> str:
    return f"test-{uuid.uuid4()}"


async def test_what_is_sealed_opens_for_what_it_is_bound_to_and_for_nothing_else(vault: KvVault) -> None:
    ident = some_id()
    await vault.seal(ident, "credential/a@1", CANARY)
    assert await vault.open(ident, "credential/a@1") == CANARY
    for bound_to in ("credential/a@2", "credential/b@1", ""):
        with pytest.raises(SecretUnavailable) as refused:
            await vault.open(ident, bound_to)
        assert "canary" not in str(refused.value)
    with pytest.raises(SecretUnavailable):
        await vault.open(some_id(), "credential/a@1")


async def test_the_first_secret_under_an_id_stays(vault: KvVault) -> None:
    ident = some_id()
    await asyncio.gather(*(vault.seal(ident, "x", b"%d" % n) for n in range(8)))
    first = await vault.open(ident, "x")
    await vault.seal(ident, "x", b"another")
    assert await vault.open(ident, "x") == first


async def test_a_destroyed_secret_is_gone_with_all_its_versions(vault: KvVault) -> None:
    one, other = some_id(), some_id()
    for ident in (one, other):
        await vault.seal(ident, "x", b"secret")
    await vault.destroy(one)
    await vault.destroy(one)
    await vault.shred([one, other])
    for ident in (one, other):
        with pytest.raises(SecretUnavailable):
            await vault.open(ident, "x")
    await vault.seal(one, "x", b"again")
    assert await vault.open(one, "x") == b"again"


async def test_several_secrets_are_opened_a_few_at_a_time_without_those_that_do_not_open(
    vault: KvVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    idents, absent, bound_otherwise = [some_id() for _ in range(20)], some_id(), some_id()
    for ident in (*idents, bound_otherwise):
        await vault.seal(ident, f"for {ident}", ident.encode())
    wanted = {ident: f"for {ident}" for ident in (*idents, absent)} | {bound_otherwise: "for another"}
    under_way, most, send = 0, 0, vault._send

    async def counted(*given: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await send(*given)
        finally:
            under_way -= 1

    monkeypatch.setattr(vault, "_send", counted)
    assert await vault.open_many(wanted) == {ident: ident.encode() for ident in idents}
    assert 1 < most <= kv_vault._AT_ONCE
    assert await vault.open_many({}) == {}


async def test_every_request_names_the_namespace(vault: KvVault, url: str) -> None:
    await vault.seal(some_id(), "x", b"secret")
    seen = httpx2.get(f"{url}/seen", trust_env=False).json()
    assert {namespace for _, _, namespace in seen} == {NAMESPACE}


@pytest.mark.parametrize("how", [{"sealed": True}, {"large": True}, {"redirect": "http://127.0.0.1:9"}], ids=str)
async def test_a_vault_that_does_not_answer_as_it_should_is_an_error_that_says_nothing_of_the_secret(
    vault: KvVault, url: str, how: dict[str, Any]
) -> None:
    await vault.seal("there", "x", b"secret")
    steer(url, **how)
    for call in (vault.seal(some_id(), "x", CANARY), vault.open("there", "x"), vault.open_many({"there": "x", "gone": "x"})):
        if "large" in how and call.__name__ == "seal":
            call.close()
            continue
        with pytest.raises(VaultError) as error:
            await call
        assert "canary" not in repr(error.value) and error.value.__cause__ is None


async def test_a_vault_that_hangs_or_is_not_there_is_given_up(vault: KvVault, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_vault, "_WITHIN_S", 0.3)
    steer(url, slow_s=30)
    began = time.monotonic()
    with pytest.raises(VaultError):
        await vault.open("there", "x")
    with pytest.raises(VaultError):
        await vault.open_many({"there": "x", "gone": "x"})
    assert time.monotonic() - began < 15
    absent = KvVault(KvSettings(url="http://127.0.0.1:9", token=TOKEN))
    with pytest.raises(VaultError):
        await absent.open("there", "x")
    await absent.close()


async def test_a_token_that_ran_out_is_renewed_with_the_approle_and_a_wrong_one_is_an_error(url: str) -> None:
    steer(url)
    vault = KvVault(KvSettings(url=url, role_id=ROLE_ID, secret_id=SECRET_ID))
    await vault.seal("kept", "x", b"secret")
    steer(url, expire_tokens=True)
    assert set(await asyncio.gather(*(vault.open("kept", "x") for _ in range(5)))) == {b"secret"}
    for wrong in (KvSettings(url=url, token="no"), KvSettings(url=url, role_id=ROLE_ID, secret_id="no")):
        stranger = KvVault(wrong)
        with pytest.raises(VaultError):
            await stranger.open("kept", "x")
        await stranger.close()
    await vault.close()


NOT_MEANT = [
    "http://vault.example.org:8200",
    "ftp://x",
    "https://u:p@vault.example.org",
    "https://",
    "https://x/?a=b",
    "vault:8200",
]


@pytest.mark.parametrize("address", NOT_MEANT)
def test_an_address_that_cannot_be_meant_is_refused(address: str) -> None:
    with pytest.raises(BadVaultAddress):
        KvVault(KvSettings(url=address, token=TOKEN))
    with pytest.raises(BadVaultAddress):
        KvVault(KvSettings(url="https://vault.example.org", token=TOKEN, role_id=ROLE_ID, secret_id=SECRET_ID))

"""Does the vault let go of what the log says is over, and keep what may still be needed?"""

import asyncio
from concurrent.futures import Future, wait
from datetime import timedelta
from typing import Any

import pytest

from infra.vaults import sweeping
from infra.vaults.references import references
from tests.api.conftest import made
from tests.api.server import Server
from tests.api.test_secrets import sealed

CREDENTIAL = {"name": "tok", "kind": "token", "secret": {"token": "t0"}}
MINUTE, HOUR = timedelta(seconds=61), timedelta(hours=1)


async def latest(server: Server, stream: str, version: int) -> None:
    path = f"/{stream.replace('/', 's/')}/history"
    assert (await server.get(path, headers={"Ops-Min-Version": f"{stream}@{version}"})).status_code == 200


def over(server: Server, later: timedelta) -> tuple[list[str], list[str]]:
    with server.given.engine.begin() as connection:
        return sweeping.over(connection, server.clock.now() + later)


async def test_a_rotated_secret_is_over_after_a_minute_and_the_new_one_is_not(server: Server) -> None:
    await made(server, "/credentials", CREDENTIAL)
    before = await sealed(server)
    assert (await server.send("PUT", "/credentials/tok/secret", {"secret": {"token": "t1"}})).status_code == 200
    await latest(server, "credential/tok", 2)
    assert over(server, timedelta(0)) == ([], [])
    shredded, ended = over(server, MINUTE)
    assert shredded == [] and len(ended) == 1 and set(ended) < before
    assert (await server.send("DELETE", "/credentials/tok")).status_code == 200
    await latest(server, "credential/tok", 3)
    assert len(over(server, MINUTE)[1]) == 2


async def test_it_is_swept_for_a_while_after_something_ended_and_not_for_what_began(server: Server) -> None:
    def ended_since(then: timedelta) -> bool:
        with server.given.engine.begin() as connection:
            return sweeping.ended_since(connection, server.clock.now() + then)

    await made(server, "/credentials", CREDENTIAL)
    await latest(server, "credential/tok", 1)
    assert not ended_since(-HOUR), "a secret began, none ended"
    assert (await server.send("PUT", "/credentials/tok/secret", {"secret": {"token": "t1"}})).status_code == 200
    await latest(server, "credential/tok", 2)
    assert ended_since(-HOUR) and not ended_since(HOUR)


async def test_a_replaced_password_and_a_revoked_token_are_over_and_those_in_use_are_not(server: Server) -> None:
    await made(server, "/users", {"name": "bob", "password": "a first good password", "roles": ["viewer"]})
    body = {"password": "a second good password"}
    changed = await server.send("PUT", "/users/bob/password", body)
    assert changed.status_code == 200, changed.text
    token = {"title": "t", "permissions": None, "expires_at": "2099-01-01T00:00:00Z"}
    issued = [await server.post("/users/bob/tokens", token) for _ in range(2)]
    revoked = await server.send("DELETE", f"/users/bob/tokens/{issued[0].json()['token_id']}")
    assert revoked.status_code == 200, revoked.text
    await latest(server, "user/bob", revoked.json()["version"])
    shredded, ended = over(server, MINUTE)
    assert (shredded, len(ended)) == ([], 2)
    with server.given.engine.begin() as connection:
        found = references(connection, runs=False)
    assert sorted(found[ident].bound_to for ident in ended) == ["user/bob", f"user/bob#{issued[0].json()['token_id']}"]


@pytest.mark.parametrize("by_asking", [False, True])
async def test_what_was_shredded_while_the_vault_did_not_answer_is_destroyed_by_the_sweep_or_by_asking_again(
    server: Server, by_asking: bool
) -> None:
    from schemas.vault import VaultError

    await made(server, "/credentials", CREDENTIAL)
    shred = server.given.vault.shred

    async def down(*given: object) -> None:
        raise VaultError("no answer")

    server.given.vault.shred = down  # type: ignore[method-assign]
    answer = await server.send("DELETE", "/credentials/tok/secret")
    assert (answer.status_code, answer.json()["code"]) == (503, "vault_unavailable")
    shredded, ended = over(server, timedelta(0))
    assert (len(shredded), ended) == (1, [])
    again = await server.send("DELETE", "/credentials/tok/secret")
    assert (again.status_code, again.json()["code"]) == (503, "vault_unavailable"), "nobody is told that it is gone"
    server.given.vault.shred = shred  # type: ignore[method-assign]
    if by_asking:
        told = [await server.send("DELETE", "/credentials/tok/secret") for _ in range(2)]
        assert [(each.status_code, each.json()["version"]) for each in told] == [(200, 2), (200, 2)]
    else:
        await shred(shredded)
    assert over(server, timedelta(0)) == ([], []) and not set(shredded) & await sealed(server)


async def test_a_secret_that_no_event_names_stays_for_as_long_as_its_command_may_be_decided(server: Server) -> None:
    await made(server, "/credentials", CREDENTIAL)
    await server.given.vault.seal("for a command that never came", "credential/x@1", b"secret")
    await latest(server, "credential/tok", 1)
    writer, now = server.given.vault._writer, server.clock.now()
    assert sweeping.sweep_unnamed(writer, now) == []
    assert sweeping.sweep_unnamed(writer, now + sweeping.UNNAMED_FOR - HOUR) == []
    assert sweeping.sweep_unnamed(writer, now + sweeping.UNNAMED_FOR + HOUR) == ["for a command that never came"]
    assert "for a command that never came" not in await sealed(server)
    assert sweeping.sweep_unnamed(writer, now + 3 * sweeping.UNNAMED_FOR) == [], "neither another nor our own keys"


async def test_a_secret_that_is_sealed_again_is_counted_anew(server: Server) -> None:
    await made(server, "/credentials", CREDENTIAL)
    await latest(server, "credential/tok", 1)
    writer, now, vault = server.given.vault._writer, server.clock.now(), server.given.vault
    await vault.seal("sent twice", "credential/x@1", b"secret")
    assert sweeping.sweep_unnamed(writer, now) == []
    await vault.seal("sent twice", "credential/x@1", b"secret")
    again = now + sweeping.UNNAMED_FOR + HOUR
    assert sweeping.sweep_unnamed(writer, again) == []
    assert await vault.open("sent twice", "credential/x@1") == b"secret"
    assert sweeping.sweep_unnamed(writer, again + sweeping.UNNAMED_FOR + HOUR) == ["sent twice"]


async def sealed_again_in_the_midst(server: Server, monkeypatch: pytest.MonkeyPatch, *, before: bool) -> list[str]:
    """What the sweep destroys while another process seals the secret once more: before or after the sweep took its note."""
    await made(server, "/credentials", CREDENTIAL)
    await latest(server, "credential/tok", 1)
    vault, now, loop, destroyed = server.given.vault, server.clock.now(), asyncio.get_running_loop(), sweeping._destroyed
    await vault.seal("sent twice", "credential/x@1", b"secret")
    sweeping.sweep_unnamed(vault._writer, now)
    sealing: list[Future[None]] = []

    def again(within_s: float) -> bool:
        sealing.append(asyncio.run_coroutine_threadsafe(vault.seal("sent twice", "credential/x@1", b"secret"), loop))
        return bool(wait(sealing, within_s).done)

    def in_the_midst(*given: Any) -> bool:
        if before:
            assert again(5.0)
        gone = destroyed(*given)
        assert before or not again(0.3), "it waits for the sweep"
        return gone

    monkeypatch.setattr(sweeping, "_destroyed", in_the_midst)
    swept = await asyncio.to_thread(sweeping.sweep_unnamed, vault._writer, now + sweeping.UNNAMED_FOR + HOUR)
    await asyncio.wrap_future(sealing[0])
    assert await vault.open("sent twice", "credential/x@1") == b"secret", "whoever sealed it has it"
    return swept

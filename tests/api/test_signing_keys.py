"""Can the keys that sign access tokens be changed so that nobody notices, and taken away so that everybody does?"""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from api.sessions import SessionsUnavailable
from api.signing_keys import MOST_IN_FORCE, SIGNS_AFTER_S, Numbered, _read, load_signing_keys, publish, refresh, retire
from api.signing_keys import _place as place
from api.signing_keys import made as made_key
from api.tokens import Access, NotAuthentic, Tokens
from schemas.vault import SecretUnavailable, VaultError
from tests.api.conftest import made
from tests.api.server import PASSWORD, Server
from tests.support.eventually import eventually_async


async def keys(server: Server) -> list[dict[str, object]]:
    answer = await server.get("/signing-keys")
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def published(server: Server) -> list[str]:
    shown = (await server.get("/.well-known/jwks.json")).json()["keys"]
    assert all(set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"} for key in shown), "public parts only"
    return [key["kid"] for key in shown]


async def told(server: Server, count: int) -> list[dict[str, Any]]:
    """What the audit trail says of keys once it says so much."""
    items: list[dict[str, Any]] = []

    async def there() -> None:
        items[:] = (await server.get("/audit/events?stream=key/installation")).json()["items"]
        assert len(items) >= count, items

    await eventually_async(there)
    return items


async def another_process(server: Server) -> Tokens:
    """What another API process knows that has started by now."""
    return Tokens(*await load_signing_keys(server.given.vault, server.given.ids))


async def test_a_new_key_is_published_first_signs_later_and_old_tokens_stay_good(server: Server) -> None:
    [old] = await published(server)
    other = await another_process(server)
    before = server.given.tokens.sign(Access("admin", "s"), server.given.ids.new_id(), server.clock.now())
    made = await server.post("/signing-keys", {})
    assert made.status_code == 201 and made.json()["signs"] is False, made.text
    new = made.json()["kid"]
    assert await published(server) == [new, old] and [key["signs"] for key in await keys(server)] == [False, True]
    assert "PRIVATE" not in made.text and '"d"' not in made.text
    await refresh(other, server.given.vault)
    now, later = server.clock.now(), server.clock.now() + timedelta(seconds=SIGNS_AFTER_S + 1)
    for tokens in (other, server.given.tokens):
        assert (tokens.signs_now(now), tokens.signs_now(later)) == (old, new)
        assert tokens.verify(before, now).user == "admin"
    assert server.given.tokens.verify(before, now + timedelta(seconds=SIGNS_AFTER_S)).user == "admin", "until it expires"


async def test_a_retired_key_is_refused_at_once_and_does_not_come_back(server: Server) -> None:
    [old] = await published(server)
    stolen, other = server.token, await another_process(server)
    assert other.verify(stolen, server.clock.now()).user == "admin"
    refused = await server.send("DELETE", f"/signing-keys/{old}")
    assert (refused.status_code, refused.json()["code"]) == (409, "only_signing_key")
    assert (await server.post("/signing-keys", {})).status_code == 201
    refused = await server.send("DELETE", f"/signing-keys/{old}")
    assert (refused.status_code, refused.json()["code"]) == (409, "only_signing_key"), "the new one does not sign yet"
    made = await server.post("/signing-keys", {"signs_at_once": True})
    assert made.json()["signs"] is True
    assert (await server.send("DELETE", "/signing-keys/nobodys")).status_code == 404
    assert (await server.send("DELETE", f"/signing-keys/{old}")).status_code == 200
    assert (await server.get("/me")).status_code == 401, "this very token was signed with it"
    await refresh(other, server.given.vault)
    for tokens in (other, await another_process(server)):
        with pytest.raises(NotAuthentic):
            tokens.verify(stolen, server.clock.now())
    assert (await server.sign_in("admin", PASSWORD)).status_code == 200
    assert (await server.get("/me")).status_code == 200
    assert old not in await published(server) and len(await published(server)) == 2


async def test_two_who_make_a_key_at_once_and_a_vault_that_is_silent_change_nothing_for_the_keys_in_force(server: Server) -> None:
    given = server.given
    new = [made_key(given.ids, given.clock.now(), at_once=False) for _ in range(4)]
    await asyncio.gather(*(publish(given.vault, each) for each in new))
    await refresh(given.tokens, given.vault)
    in_force = given.tokens.keys
    assert {each.key.kid for each in new} < {key.kid for key in in_force}

    async def down(*asked: object) -> bytes:
        raise VaultError("no answer")

    given.vault.open = down  # type: ignore[method-assign]
    await refresh(given.tokens, given.vault)
    assert given.tokens.keys == in_force
    assert (await server.get("/signing-keys")).status_code == 200


async def test_keys_are_for_administrators_who_signed_in_and_for_nobody_who_may_only_change_users(server: Server) -> None:
    at = (server.clock.now() + timedelta(hours=1)).isoformat()
    token = {"title": "t", "permissions": ["signing_keys.write", "users.write"], "expires_at": at}
    issued = await server.post("/users/admin/tokens", token)
    assert issued.status_code == 201, issued.text
    await made(server, "/roles", {"name": "changes-users", "permissions": ["users.write"]})
    for name, role in (("bob", "author"), ("erin", "changes-users")):
        await made(server, "/users", {"name": name, "password": "a good long password", "roles": [role]})
    [before], administrator = await published(server), server.token
    server.token = issued.json()["token"]
    await refused(server, before)
    assert (await server.get("/signing-keys")).status_code == 403, "nothing that it was issued for"
    assert (await server.sign_in("bob", "a good long password")).status_code == 200
    await refused(server, before)
    assert (await server.get("/signing-keys")).status_code == 403
    assert (await server.sign_in("erin", "a good long password")).status_code == 200
    await refused(server, before)
    server.token = administrator
    assert await published(server) == [before]
    assert (await server.post("/signing-keys", {"signs_at_once": True})).status_code == 201


async def refused(server: Server, kid: str) -> None:
    """Whoever is signed in now changes no key."""
    for answer in (
        await server.post("/signing-keys", {"signs_at_once": True}),
        await server.send("DELETE", f"/signing-keys/{kid}"),
        await server.send("DELETE", "/signing-keys/nobodys"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied"), answer.text


async def test_who_made_a_key_and_who_took_it_away_stands_in_the_audit_trail(server: Server) -> None:
    [old] = await published(server)
    new = (await server.post("/signing-keys", {"signs_at_once": True})).json()
    assert (await server.send("DELETE", f"/signing-keys/{old}")).status_code == 200
    assert (await server.sign_in()).status_code == 200
    assert (await server.send("DELETE", "/signing-keys/nobodys")).status_code == 404
    events = await told(server, 2)
    said = sorted((event["version"], event["type"], event["payload"]["kid"], event["actor"]["name"]) for event in events)
    assert said == [(1, "SigningKeyAdded", new["kid"], "admin"), (2, "SigningKeyRetired", old, "admin")]


async def test_a_key_that_the_vault_did_not_take_away_is_told_of_once_and_goes_when_asked_again(server: Server) -> None:
    [old] = await published(server)
    assert (await server.post("/signing-keys", {"signs_at_once": True})).status_code == 201
    seal = server.given.vault.seal

    async def down(*given: object) -> None:
        raise VaultError("no answer")

    server.given.vault.seal = down  # type: ignore[method-assign]
    failed = await server.send("DELETE", f"/signing-keys/{old}")
    assert (failed.status_code, failed.json()["code"]) == (503, "vault_unavailable") and old in await published(server)
    server.given.vault.seal = seal  # type: ignore[method-assign]
    assert (await server.send("DELETE", f"/signing-keys/{old}")).status_code == 200
    assert (await server.sign_in()).status_code == 200 and old not in await published(server)
    events = await told(server, 2)
    assert [event["type"] for event in events].count("SigningKeyRetired") == 1


async def test_what_a_key_signed_is_refused_at_once_also_where_the_vault_fails_to_destroy_the_key(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    [old] = await published(server)
    assert (await server.post("/signing-keys", {"signs_at_once": True})).status_code == 201
    monkeypatch.setattr(server.given.vault, "shred", fails_from(1, server.given.vault.shred))
    assert (await server.get("/me")).status_code == 200, "the token that the old key signed is still good"
    assert (await server.send("DELETE", f"/signing-keys/{old}")).status_code == 503
    assert (await server.get("/me")).status_code == 401


async def test_a_read_that_had_begun_before_does_not_bring_a_retired_key_back(server: Server) -> None:
    [old] = await published(server)
    assert (await server.post("/signing-keys", {"signs_at_once": True})).status_code == 201
    as_they_were = server.given.tokens.keys
    assert (await server.send("DELETE", f"/signing-keys/{old}")).status_code == 200
    server.given.tokens.take(as_they_were)
    assert (await server.get("/me")).status_code == 401, "the token that the old key signed"
    assert (await server.sign_in()).status_code == 200


CALLS = [(name, nth) for name, most in (("open", 9), ("seal", 1), ("shred", 1)) for nth in range(1, most + 1)]


@pytest.mark.parametrize(("name", "nth"), CALLS)
async def test_whenever_the_vault_fails_a_key_is_made_or_taken_away_or_503_says_so_and_asking_again_makes_it_good(
    server: Server, monkeypatch: pytest.MonkeyPatch, name: str, nth: int
) -> None:
    [old] = await published(server)
    vault, administrator = server.given.vault, server.token
    before = {each.key.kid: place(each.number) for each in (await _read(vault))[0]}

    async def while_failing(method: str, path: str, body: object = None) -> None:
        with monkeypatch.context() as failing:
            failing.setattr(vault, name, fails_from(nth, getattr(vault, name)))
            answer = await server.send(method, path, body)
        code = answer.json().get("code")
        assert answer.status_code in (200, 201) or (answer.status_code, code) == (503, "vault_unavailable"), answer.text

    await while_failing("POST", "/signing-keys", {"signs_at_once": True})
    assert (await server.post("/signing-keys", {"signs_at_once": True})).status_code == 201
    server.token = administrator
    await while_failing("DELETE", f"/signing-keys/{old}")
    assert (await server.sign_in()).status_code == 200
    again = await server.send("DELETE", f"/signing-keys/{old}")
    assert again.status_code in (200, 404), again.text
    with pytest.raises(SecretUnavailable):
        await vault.open(*before[old])
    assert (await server.sign_in()).status_code == 200 and old not in await published(server)


def fails_from(nth: int, real: Any) -> Any:
    calls = 0

    async def failing(*given: object) -> Any:
        nonlocal calls
        calls += 1
        if calls >= nth:
            raise VaultError("no answer")
        return await real(*given)

    return failing


async def test_a_key_of_which_it_is_not_known_in_time_whether_it_is_in_the_log_is_not_made_and_the_answer_says_that(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*given: object) -> None:
        return None

    before = await published(server)
    monkeypatch.setattr(server.log.outcomes, "wait", nothing)
    late = await server.post("/signing-keys", {"signs_at_once": True})
    assert (late.status_code, late.json()["code"]) == (503, "result_unknown") and await published(server) == before


async def test_only_so_many_keys_are_in_force_at_once_and_one_too_many_leaves_no_trace(server: Server) -> None:
    for _ in range(MOST_IN_FORCE - 1):
        assert (await server.post("/signing-keys", {})).status_code == 201
    refused = await server.post("/signing-keys", {"signs_at_once": True})
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_signing_keys")
    assert len(await published(server)) == MOST_IN_FORCE
    [first, *_] = reversed(await published(server))
    await told(server, MOST_IN_FORCE - 1)
    server.clock.ahead += timedelta(seconds=SIGNS_AFTER_S + 1)
    assert (await server.sign_in()).status_code == 200
    assert (await server.send("DELETE", f"/signing-keys/{first}")).status_code == 200
    assert (await server.sign_in()).status_code == 200
    assert (await server.post("/signing-keys", {})).status_code == 201
    assert [event["type"] for event in await told(server, MOST_IN_FORCE + 1)].count("SigningKeyAdded") == MOST_IN_FORCE


async def test_an_api_starts_however_many_keys_there_have_been_and_asks_for_a_retired_one_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault, asked = server.given.vault, 0
    for number in range(2, 1_100):
        await retire(vault, Numbered(number, server.given.tokens.keys[0]))
    other = await another_process(server)
    assert other.verify(server.token, server.clock.now()).user == "admin"
    await refresh(other, vault)
    real = vault.open

    async def counted(*given: Any) -> Any:
        nonlocal asked
        asked += 1
        return await real(*given)

    monkeypatch.setattr(vault, "open", counted)
    await refresh(other, vault)
    assert asked < 10


async def test_keys_are_made_and_taken_away_while_the_session_store_fails(server: Server) -> None:
    async def down(*given: object) -> None:
        raise SessionsUnavailable("down")

    for name in ("begin", "user_of", "refresh", "revoke", "is_revoked", "unused_s"):
        setattr(server.given.sessions, name, down)
    [old] = await published(server)
    assert (await server.post("/signing-keys", {"signs_at_once": True})).status_code == 201
    assert (await server.send("DELETE", f"/signing-keys/{old}")).status_code == 200

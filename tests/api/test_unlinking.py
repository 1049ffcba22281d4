"""Is a user who is taken from the identity provider left with nothing that came from it, and nobody to come back to the name?"""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from infra.vaults.references import references
from schemas.vault import bound_to_identity
from tests.api.conftest import made
from tests.api.house import House, linked_in_clear, second_name
from tests.api.limited import DENIED, PASSWORD, acting_as, somebody, told
from tests.api.test_personal_data import is_signed_in, live_generation, newer, over, row_of
from tests.api.test_provider_sign_in import VERIFIER, granted
from tests.support.eventually import eventually_async

IDENTITY = "/users/carol/identity"
TOKEN = {"title": "CI", "expires_at": "2999-01-01T00:00:00Z"}


async def lived(house: House) -> list[str]:
    """Carol signed in and has an API token: what she could ask with."""
    session = (await house.sign_in()).json()["access_token"]
    issued = await house.http.post("/api/v1/users/carol/tokens", json=TOKEN, headers={"Authorization": f"Bearer {session}"})
    assert issued.status_code == 201, issued.text
    return [session, issued.json()["token"]]


async def unlinked(house: House) -> Any:
    answer = await house.server.send("DELETE", IDENTITY)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_roles_sessions_and_api_tokens_end_with_the_link_and_the_title_stays(house: House):
    ways = await lived(house)
    assert [await is_signed_in(house.server, token) for token in ways] == [True, True]
    version = (await house.server.get("/users/carol")).json()["version"]
    answer = await unlinked(house)
    assert (answer["stream"], answer["version"], answer["name"]) == ("user/carol", version + 1, "carol")
    assert [await is_signed_in(house.server, token) for token in ways] == [False, False]
    shown = (await house.server.get("/users/carol")).json()
    assert (shown["roles"], shown["linked"], shown["service"], shown["title"]) == ([], None, True, "Carol C.")
    assert (shown["disabled"], shown["erased"]) == (False, False)
    for listed in ("tokens", "sessions"):
        assert (await house.server.get(f"/users/carol/{listed}")).json()["items"] == []
    last = (await house.server.get("/users/carol/history")).json()["items"][-1]
    assert (last["type"], last["payload"], last["actor"]["name"]) == ("IdentityUnlinked", {}, "admin")


async def test_who_is_unlinked_is_refused_by_name_from_then_on_and_is_somebody_new_under_another(house: House):
    await lived(house)
    await unlinked(house)
    for _ in range(2):
        refused = await house.sign_in()
        assert (refused.status_code, refused.json()["code"]) == (403, "identity_refused")
    assert (await house.server.get("/users/carol")).json()["roles"] == [], "nothing came back by trying"
    house.idp.becomes(preferred_username="caroline")
    me = await house.me((await house.sign_in()).json()["access_token"])
    assert (me["name"], me["roles"]) == ("caroline", ["operator"])


async def test_an_unlinked_name_is_given_a_password_and_roles_here_and_is_one_of_our_own(house: House):
    await lived(house)
    await unlinked(house)
    server = house.server
    assert (await server.send("PUT", "/users/carol/password", {"password": PASSWORD})).status_code == 200
    assert (await server.send("PATCH", "/users/carol", {"roles": ["viewer"]})).status_code == 200
    before = server.token
    assert (await server.sign_in("carol", PASSWORD)).status_code == 200
    assert (await server.get("/me")).json()["roles"] == ["viewer"]
    server.token = before
    assert (await house.sign_in()).json()["code"] == "identity_refused", "and not the provider's any more"


async def test_who_was_linked_in_clear_is_unlinked_as_well(house: House, monkeypatch: pytest.MonkeyPatch):
    await linked_in_clear(house, monkeypatch)
    await unlinked(house)
    assert (await house.server.get("/users/carol")).json()["linked"] is None
    assert (await house.sign_in()).json()["code"] == "identity_refused"


async def test_of_two_names_from_before_either_is_unlinked_and_its_owner_goes_on_under_the_other(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    await house.sign_in()
    await second_name(house, monkeypatch)
    assert (await house.sign_in()).json()["code"] == "identity_refused"
    await unlinked(house)
    assert (await house.me((await house.sign_in()).json()["access_token"]))["name"] == "caroline"
    assert (await house.server.get("/users/carol")).json()["erased"] is False, "the first is still there"


async def test_a_grant_of_a_sign_in_before_is_worth_nothing_after(house: House):
    grant = await granted(house)
    await unlinked(house)
    answer = await house.http.post("/api/v1/auth/oidc/tokens", json={"grant": grant, "verifier": VERIFIER})
    assert not await is_signed_in(house.server, answer.json()["access_token"])


async def test_who_has_no_link_and_who_is_not_there_are_told_apart(house: House):
    await lived(house)
    await unlinked(house)
    await made(house.server, "/users", {"name": "bob", "password": PASSWORD})
    for name, code in (("carol", "identity_not_found"), ("bob", "identity_not_found"), ("eve", "user_not_found")):
        assert told(await house.server.send("DELETE", f"/users/{name}/identity")) == (404, code)
    assert told(await house.server.send("DELETE", "/users/admin/identity")) == (409, "own_account")
    assert (await house.server.send("DELETE", "/users/bob/personal-data")).status_code == 200
    assert told(await house.server.send("DELETE", "/users/bob/identity")) == (409, "user_erased")


async def test_unlinking_is_sent_again_with_its_key_and_only_of_the_version_that_was_meant(house: House):
    await lived(house)
    assert told(await house.server.send("DELETE", IDENTITY, headers={"If-Match": '"1"'}))[:2] == (412, "version_conflict")
    first, again = [await house.server.send("DELETE", IDENTITY, headers={"Idempotency-Key": "one"}) for _ in range(2)]
    assert (first.status_code, first.json()) == (again.status_code, again.json()) == (200, first.json())


async def test_who_may_not_do_what_a_user_may_does_not_unlink_it(house: House):
    await lived(house)
    await made(house.server, "/roles", {"name": "front-desk", "permissions": ["users.read", "users.write"]})
    for name, role in (("eve", "front-desk"), ("fay", "auditor")):
        token = await somebody(house.server, name, role)
        with acting_as(house.server, token):
            assert told(await house.server.send("DELETE", IDENTITY)) == DENIED
    assert (await house.server.get("/users/carol")).json()["linked"] is not None


async def test_nobody_unlinks_themselves(house: House):
    house.idp.becomes(groups=["root"])
    mine = (await house.sign_in()).json()["access_token"]
    answer = await house.http.request("DELETE", f"/api/v1{IDENTITY}", headers={"Authorization": f"Bearer {mine}"})
    assert told(answer) == (409, "own_account")
    assert (await house.me(mine))["roles"] == ["administrator"]


async def test_whom_the_provider_named_and_the_hashes_of_the_tokens_are_let_go_of_after_a_minute(house: House):
    await lived(house)
    server, title = house.server, (await house.server.get("/users/carol")).json()["sealed_title"]
    await unlinked(house)
    version = (await server.get("/users/carol")).json()["version"]
    await server.get("/users/carol/history", headers={"Ops-Min-Version": f"user/carol@{version}"})
    assert over(server, timedelta(0)) == ([], [])
    shredded, ended = over(server, timedelta(seconds=61))
    with server.given.engine.begin() as connection:
        found = references(connection, runs=False)
    assert shredded == [] and title not in ended and len(ended) == 2
    assert bound_to_identity("carol") in {found[ident].bound_to for ident in ended}


async def test_read_models_rebuilt_after_an_unlinking_are_as_they_were(house: House):
    await lived(house)
    await unlinked(house)
    before, generation = await row_of(house.server, "carol"), await live_generation(house.server)
    assert (await house.server.post("/projections/users/rebuild")).status_code == 202
    await eventually_async(lambda: newer(house.server, generation), 20)
    assert await row_of(house.server, "carol") == before


async def test_a_sign_in_at_the_same_time_leaves_nobody_signed_in_without_a_link(house: House):
    """Whichever is decided first: after both there is no session of a user who is not the provider's."""
    await lived(house)
    back = await house.back()
    answer, gone = await asyncio.gather(house.http.get(back), house.server.send("DELETE", IDENTITY))
    assert gone.status_code == 200, gone.text
    shown = (await house.server.get("/users/carol/sessions")).json()["items"]
    assert shown == [] and (await house.server.get("/users/carol")).json()["roles"] == []
    if answer.status_code == 200:
        assert not await is_signed_in(house.server, answer.json()["access_token"])

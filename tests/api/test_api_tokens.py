"""Does an API token do what it was issued for, as far as its owner may, until it expires, and nothing else?"""

import asyncio
from datetime import timedelta

import pytest

from domain.access import built_in, permissions_of
from tests.api.conftest import job
from tests.api.test_users import acting, bob, events_of, made


async def issued(server, name="bob", **more):
    """An API token, as its owner sees it once."""
    until = (server.clock.now() + timedelta(hours=1)).isoformat()
    answer = await server.post(f"/users/{name}/tokens", {"title": "CI", "expires_at": until, **more})
    assert answer.status_code == 201, answer.text
    await server.get(f"/users/{name}/tokens", headers={"Ops-Min-Version": f"user/{name}@{answer.json()['version']}"})
    return answer.json()


async def test_a_token_acts_for_its_owner_and_the_audit_trail_shows_both(server):
    await made(server, roles=["author"])
    async with acting(server):
        token = await issued(server)
        server.token = token["token"]
        assert (await server.get("/me")).json()["name"] == "bob"
        assert (await server.post("/jobs", job())).status_code == 201
    event = (await server.get("/jobs/greet/history")).json()["items"][0]
    assert event["actor"] == {"kind": "token", "name": f"bob/{token['token_id']}"}
    assert event["on_behalf_of"] == {"kind": "user", "name": "bob"}


async def test_a_token_does_only_what_it_was_issued_for(server):
    await made(server)
    async with acting(server):
        token = await issued(server, permissions=["jobs.read", "users.read"])
        server.token = token["token"]
        assert (await server.get("/me")).status_code == 403
        assert (await server.get("/jobs")).status_code == 200
        assert (await server.get("/targets")).json()["code"] == "permission_denied"
        assert (await server.get("/users")).status_code == 403, "its owner may not either"


async def test_a_token_loses_what_its_owner_loses_and_rests_while_the_owner_is_disabled(server):
    await made(server)
    async with acting(server):
        token = (await issued(server))["token"]
    mine = server.token
    for patch, status in (
        ({"roles": []}, 403),
        ({"roles": ["viewer"]}, 200),
        ({"disabled": True}, 401),
        ({"disabled": False}, 200),
    ):
        server.token = mine
        version = (await server.send("PATCH", "/users/bob", patch)).json()["version"]
        await server.get("/users/bob", headers={"Ops-Min-Version": f"user/bob@{version}"})
        server.token = token
        assert (await server.get("/jobs")).status_code == status, patch


async def test_a_new_password_ends_sessions_and_no_token_so_each_is_to_be_revoked(server):
    await made(server)
    async with acting(server) as session:
        token = await issued(server)
    mine = server.token
    assert (await server.send("PUT", "/users/bob/password", {"password": "another good password"})).status_code == 200
    for shown, status in ((session["access_token"], 401), (token["token"], 200)):
        server.token = shown
        assert (await server.get("/jobs")).status_code == status
    server.token = mine
    assert (await server.send("DELETE", f"/users/bob/tokens/{token['token_id']}")).status_code == 200
    server.token = token["token"]
    assert (await server.get("/jobs")).status_code == 401


async def test_a_token_is_shown_once_and_kept_as_a_hash(server):
    await made(server)
    async with acting(server):
        until = (server.clock.now() + timedelta(hours=1)).isoformat()
        body = {"title": "CI", "expires_at": until}
        first = await server.post("/users/bob/tokens", body, headers={"Idempotency-Key": "k"})
        again = await server.post("/users/bob/tokens", body, headers={"Idempotency-Key": "k"})
        assert first.headers["cache-control"] == "no-store"
        assert (again.status_code, again.json()) == (201, {**first.json(), "token": None})
        secret = first.json()["token"].rpartition(".")[2]
        there = {"Ops-Min-Version": f"user/bob@{first.json()['version']}"}
        (listed,) = (await server.get("/users/bob/tokens", headers=there)).json()["items"]
        assert set(listed) == {"token", "title", "permissions", "issued_at", "expires_at"}
    assert secret.encode() not in server.everything_stored()
    assert all(secret.encode() not in answer for answer in server.answers[:-4])


async def test_of_requests_at_once_under_one_key_only_the_token_that_is_good_is_shown(server):
    await made(server)
    async with acting(server):
        until = (server.clock.now() + timedelta(hours=1)).isoformat()
        key = {"Idempotency-Key": "k"}
        asked = [server.post("/users/bob/tokens", {"expires_at": until}, headers=key) for _ in range(3)]
        (token,) = [shown for answer in await asyncio.gather(*asked) if (shown := answer.json()["token"])]
        server.token = token
        assert (await server.get("/jobs")).status_code == 200


async def test_who_may_change_users_gives_no_role_that_permits_more_than_the_token_does(server):
    token = await issued(server, "admin", permissions=["users.write", "users.read", *permissions_of([built_in("viewer")])])
    mine, server.token = server.token, token["token"]
    assert (await server.post("/users", bob(roles=["administrator"]))).status_code == 403
    assert (await server.post("/users", bob(roles=["viewer"]))).status_code == 201
    assert (await server.send("PATCH", "/users/bob", {"roles": ["viewer", "operator"]})).status_code == 403
    assert (await server.send("PATCH", "/users/bob", {"title": "Robert", "roles": []})).status_code == 200
    server.token = mine
    assert (await server.send("PATCH", "/users/bob", {"roles": ["administrator"]})).status_code == 200


async def test_a_token_changes_its_owners_account_only_if_it_may_do_all_that_its_owner_may(server):
    narrow, whole = [
        await issued(server, "admin", permissions=scope) for scope in (["users.write", "users.read", "self.write"], None)
    ]
    mine = server.token
    [session] = [each["session"] for each in (await server.get("/users/admin/sessions")).json()["items"]]
    server.token = narrow["token"]
    before = (await server.get("/users/admin")).json()
    for method, path, body in (
        ("DELETE", "/users/admin/sessions", None),
        ("DELETE", f"/users/admin/sessions/{session}", None),
        ("PATCH", "/users/admin", {"title": "Not me"}),
        ("PATCH", "/users/admin", {"roles": []}),
        ("PATCH", "/users/admin", {"disabled": True}),
        ("DELETE", "/users/admin", None),
    ):
        answer = await server.send(method, path, body)
        assert (answer.status_code, answer.json().get("code")) == (403, "permission_denied"), (method, path, body, answer.text)
    assert (await server.get("/users/admin")).json() == before
    server.token = mine
    assert (await server.get("/me")).status_code == 200, "the session goes on"
    server.token = whole["token"]
    assert (await server.send("PATCH", "/users/admin", {"title": "Me"})).status_code == 200
    server.token = mine
    assert (await server.send("PATCH", "/users/admin", {"title": ""})).status_code == 200


async def test_two_tokens_asked_for_in_the_same_words_are_two(server):
    await made(server)
    async with acting(server):
        until = (server.clock.now() + timedelta(hours=1)).isoformat()
        one, two = [await issued(server, expires_at=until) for _ in range(2)]
        for token in (one, two):
            server.token = token["token"]
            assert (await server.get("/jobs")).status_code == 200


async def test_an_expired_revoked_or_forged_token_is_refused(server):
    await made(server)
    async with acting(server):
        theirs = server.token
        token = await issued(server)
        good = token["token"]
        assert (await server.send("DELETE", f"/users/bob/tokens/{token['token_id']}")).status_code == 200
        assert (await server.send("DELETE", f"/users/bob/tokens/{token['token_id']}")).json()["code"] == "token_not_found"
        other = await issued(server)
        forged = [
            good,
            other["token"][:-1] + ("a" if other["token"][-1] != "a" else "b"),
            other["token"].replace("bob", "admin"),
            other["token"].replace(other["token_id"], token["token_id"]),
            "ops.bob.x.y",
            "ops.bob..",
            "ops...",
            "ops." + "a" * 5_000,
        ]
        for text in forged:
            server.token = text
            assert (await server.get("/jobs")).status_code == 401, text
        server.token = other["token"]
        assert (await server.get("/jobs")).status_code == 200
        server.clock.ahead = timedelta(hours=2)
        assert (await server.get("/jobs")).status_code == 401
        server.token = theirs


async def test_a_token_manages_no_account(server):
    await made(server, roles=["administrator"])
    async with acting(server):
        token = await issued(server)
        server.token = token["token"]
        until = (server.clock.now() + timedelta(hours=1)).isoformat()
        own = {"current_password": "x", "password": "new-password-1"}
        for method, path, body in (
            ("POST", "/users/bob/tokens", {"expires_at": until}),
            ("GET", "/users/bob/tokens", None),
            ("DELETE", f"/users/bob/tokens/{token['token_id']}", None),
            ("PUT", "/me/password", own),
            ("PUT", "/users/bob/password", {"password": "new-password-1"}),
            ("POST", "/auth/logout", {}),
        ):
            assert (await server.send(method, path, body)).status_code == 403, (method, path)


async def test_the_tokens_of_others_take_the_right_to_change_users(server):
    await made(server)
    await server.post("/users", bob(name="eve", roles=["author"]))
    await issued(server, "bob")
    async with acting(server, "eve"):
        assert (await server.get("/users/bob/tokens")).status_code == 403
        assert (await server.get("/users/nobody/tokens")).status_code == 403, "not told from one that is there"
    assert (await server.get("/users/nobody/tokens")).status_code == 404
    assert [e["type"] for e in await events_of(server)][-1] == "TokenIssued"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2099-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": 7}, "expires_at"),
        ({"expires_at": None}, "expires_at"),
        ({"permissions": ["everything"]}, "permissions.0"),
        ({"permissions": "jobs.read"}, "permissions"),
        ({"permissions": ["jobs.read"] * 30_000}, "permissions"),
        ({"expires_at": "9999-12-31T23:30:00-01:00"}, "expires_at"),
        ({"title": "x\n"}, "title"),
        ({"secret": "mine"}, "secret"),
    ],
)
async def test_a_wrong_token_is_refused_with_the_field(server, change, field):
    answer = await server.post("/users/admin/tokens", {"expires_at": "2099-01-01T00:00:00Z", **change})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field), answer.text

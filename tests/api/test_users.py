"""Can users be made, changed and disabled, and is what they may do at once what they were given?"""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from api.account import is_password_of
from api.counted import sign_in_failures
from api.submit import Rejection
from infra.memory.sign_in_attempts import MemoryAttempts
from tests.api.conftest import job
from tests.api.server import PASSWORD, serving
from tests.api.test_audit_trail import following
from tests.support.eventually import eventually_async

BOBS = "bob-has-a-password"


def bob(**more):
    return {"name": "bob", "title": "Bob", "roles": ["operator"], "password": BOBS, **more}


@asynccontextmanager
async def acting(server, name="bob", password=BOBS):
    """As somebody else."""
    before = server.token
    answer = await server.sign_in(name, password)
    assert answer.status_code == 200, answer.text
    try:
        yield answer.json()
    finally:
        server.token = before


async def made(server, **more):
    answer = await server.post("/users", bob(**more))
    assert answer.status_code == 201, answer.text
    return answer


async def events_of(server, name="bob"):
    answer = await server.get(f"/users/{name}/history")
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def test_a_user_is_made_shown_and_signs_in_with_the_roles_given(server):
    answer = await made(server)
    assert (answer.json()["stream"], answer.headers["location"]) == ("user/bob", "/api/v1/users/bob")
    shown = (await server.get("/users/bob", headers={"Ops-Min-Version": "user/bob@3"})).json()
    assert (shown["title"], shown["roles"], shown["disabled"], shown["service"]) == ("Bob", ["operator"], False, False)
    assert BOBS not in str(shown) and "password" not in shown
    async with acting(server):
        me = (await server.get("/me")).json()
        assert (me["name"], me["roles"]) == ("bob", ["operator"]) and "runs.start" in me["permissions"]
        assert (await server.get("/users")).status_code == 403
        assert (await server.post("/targets", {})).status_code == 403
    assert [e["type"] for e in await events_of(server)] == ["UserCreated", "TitleChanged", "RoleGranted", "SignedIn"]
    assert BOBS.encode() not in server.everything_stored()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Bob"}, "name"),
        ({"name": None}, "name"),
        ({"title": "a\nb"}, "title"),
        ({"roles": ["root"]}, "roles.0"),
        ({"roles": ["viewer", "viewer"]}, "roles.1"),
        ({"roles": "viewer"}, "roles"),
        ({"password": "short"}, "password"),
        ({"password": "x" * 1_001}, "password"),
        ({"name": "bob-the-builder", "password": "Bob-the-Builder"}, "password"),
        ({"password": 7}, "password"),
        ({"admin": True}, "admin"),
        ({"version": 3}, "version"),
        ({"disabled": True}, "disabled"),
    ],
)
async def test_a_wrong_user_is_refused_with_the_field_and_nothing_is_made(server, change, field):
    answer = await server.post("/users", bob(**change))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field), answer.text
    assert "short" not in answer.text
    assert (await server.get("/users/bob")).status_code == 404


async def test_making_a_user_again_under_its_key_is_the_same_and_otherwise_a_conflict(server):
    first = await server.post("/users", bob(), headers={"Idempotency-Key": "k"})
    again = await server.post("/users", bob(), headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    assert (await server.post("/users", bob())).json()["code"] == "user_exists"
    reused = await server.post("/users", bob(password="another-password"), headers={"Idempotency-Key": "k"})
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")
    async with acting(server):
        pass


async def test_roles_change_at_once_for_tokens_that_are_out(server):
    await made(server)
    async with acting(server):
        theirs = server.token
    changed = await server.send("PATCH", "/users/bob", {"roles": ["administrator"]})
    async with acting(server, "admin", PASSWORD):
        server.token = theirs
        there = {"Ops-Min-Version": f"user/bob@{changed.json()['version']}"}
        assert (await server.get("/me", headers=there)).json()["roles"] == ["administrator"]
        assert (await server.get("/users")).status_code == 200


async def test_a_patch_changes_what_it_names_and_refuses_null_where_nothing_can_be_without(server):
    await made(server)
    assert (await server.send("PATCH", "/users/bob", {"title": None}, headers={"If-Match": '"3"'})).json()["version"] == 4
    assert (await server.send("PATCH", "/users/bob", {"title": "x"}, headers={"If-Match": '"3"'})).status_code == 412
    for body, field in (({"roles": None}, "roles"), ({"disabled": None}, "disabled"), ({"name": "eve"}, "name")):
        answer = await server.send("PATCH", "/users/bob", body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert (await server.send("PATCH", "/users/nobody", {"title": "x"})).status_code == 404


async def test_a_disabled_user_is_out_at_once_and_looks_like_a_wrong_password(server):
    await made(server)
    async with acting(server) as tokens:
        theirs = server.token
    assert (await server.send("DELETE", "/users/bob")).status_code == 200
    mine, server.token = server.token, theirs

    async def out():
        return (await server.get("/me")).status_code == 401

    await eventually_async(out)
    assert (await server.post("/auth/refresh", {"refresh_token": tokens["refresh_token"]})).status_code == 401
    refused, wrong = await server.sign_in("bob", BOBS), await server.sign_in("nobody", BOBS)
    assert (
        (refused.status_code, refused.json()["code"]) == (wrong.status_code, wrong.json()["code"]) == (401, "invalid_credentials")
    )
    server.token = mine
    assert (await server.get("/users/bob")).json()["disabled"] is True
    await server.send("PATCH", "/users/bob", {"disabled": False})
    async with acting(server):
        assert (await server.get("/me")).status_code == 200


async def test_the_last_administrator_can_neither_go_nor_be_disabled(server):
    for method, body in (("DELETE", None), ("PATCH", {"disabled": True}), ("PATCH", {"roles": ["viewer"]})):
        answer = await server.send(method, "/users/admin", body)
        assert (answer.status_code, answer.json()["code"]) == (409, "last_administrator")
    await made(server, roles=["administrator"])
    own, bobs = await asyncio.gather(server.send("DELETE", "/users/admin"), server.send("DELETE", "/users/bob"))
    outcomes = own.status_code, bobs.status_code
    assert outcomes in ((200, 409), (409, 200), (200, 401)), "401: who asks was out already when asking for the other"


async def test_ones_own_password_changes_with_the_current_one_and_other_sessions_end(server):
    await made(server)
    async with acting(server):
        other = server.token
    async with acting(server):
        wrong = await server.send("PUT", "/me/password", {"current_password": "nope-nope", "password": "new-password-1"})
        assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "current_password")
        body = {"current_password": BOBS, "password": "new-password-1"}
        changed = await server.send("PUT", "/me/password", body, headers={"Idempotency-Key": "k"})
        assert changed.status_code == 200
        again = await server.send("PUT", "/me/password", body, headers={"Idempotency-Key": "k"})
        assert again.json() == changed.json(), "though the current password is another one by now"
        there = {"Ops-Min-Version": f"user/bob@{changed.json()['version']}"}
        assert (await server.get("/me", headers=there)).status_code == 200, "the session it was changed in stays"
        server.token = other
        assert (await server.get("/me")).status_code == 401
        assert (await server.sign_in("bob", BOBS)).status_code == 401
        assert (await server.sign_in("bob", "new-password-1")).status_code == 200


async def test_ones_own_password_is_not_reset_as_that_of_others_is_without_the_current_one(server):
    answer = await server.send("PUT", "/users/admin/password", {"password": "stolen-session"})
    assert (answer.status_code, answer.json().get("code")) == (409, "own_account"), answer.text
    assert "current" in answer.json()["detail"]
    assert (await server.sign_in("admin", "stolen-session")).status_code == 401
    assert (await server.sign_in("admin", PASSWORD)).status_code == 200


async def test_guessing_the_current_password_in_a_stolen_session_slows_down_like_signing_in(server):
    await made(server)
    async with acting(server):
        body = {"current_password": "nope-nope", "password": "new-password-1"}
        codes = [(await server.send("PUT", "/me/password", body)).status_code for _ in range(7)]
        assert codes[:5] == [422] * 5 and codes[-1] == 429
        server.given.sign_in_limit.__init__(MemoryAttempts(server.clock.seconds))
        at_once = await asyncio.gather(*(server.send("PUT", "/me/password", body) for _ in range(12)))
        assert sorted(answer.status_code for answer in at_once) == [422] * 5 + [429] * 7


async def test_a_reset_password_ends_every_session_and_only_the_new_one_opens(server):
    await made(server)
    async with acting(server):
        theirs = server.token
    changed = await server.send("PUT", "/users/bob/password", {"password": "given-by-admin"})
    assert changed.status_code == 200
    assert (await server.send("PUT", "/users/nobody/password", {"password": "given-by-admin"})).status_code == 404
    await server.get("/users/bob", headers={"Ops-Min-Version": f"user/bob@{changed.json()['version']}"})
    server.token = theirs
    assert (await server.get("/me")).status_code == 401
    assert (await server.sign_in("bob", BOBS)).status_code == 401
    assert (await server.sign_in("bob", "given-by-admin")).status_code == 200


async def test_a_service_account_has_no_password_and_signs_in_nowhere(server):
    answer = await server.post("/users", {"name": "ci", "roles": ["operator"]})
    assert answer.status_code == 201
    assert (await server.get("/users/ci", headers={"Ops-Min-Version": "user/ci@2"})).json()["service"] is True
    for password in ("", "-", "None", "null"):
        assert (await server.sign_in("ci", password)).status_code in (401, 422)


async def test_failed_sign_ins_are_one_event_a_window_by_nobody_and_none_for_unknown_names(tmp_path):
    async with serving(tmp_path, audit_window_s=4) as server:
        await made(server)
        for name in ("bob", "bob", "nobody"):
            assert (await server.sign_in(name, "wrong-password")).status_code == 401

        async def recorded():
            return [e for e in await events_of(server) if e["type"] == "SignInsFailed"]

        (event,) = await eventually_async(recorded)
        assert event["payload"]["count"] == 2 and event["actor"] == {"kind": "anonymous", "name": "anonymous"}
        assert (await server.get("/users/nobody/history")).status_code == 404


async def test_signing_out_is_in_the_log_and_holds_without_the_session_store(server):
    await made(server)
    async with acting(server):
        theirs = server.token
        server.given.sessions.__init__(lambda: 0.0)  # it lost everything
        assert (await server.get("/me")).status_code == 200
        assert (await server.post("/auth/logout", {})).status_code == 200
        server.given.sessions.__init__(lambda: 0.0)
        server.token = theirs
        assert (await server.get("/me")).status_code == 401
    assert [e["type"] for e in await events_of(server)][-1] == "SessionsEnded"


async def test_a_refresh_token_used_twice_ends_its_session_in_the_log(server):
    await made(server)
    async with acting(server) as tokens:
        for _ in range(2):
            fresh = await server.post("/auth/refresh", {"refresh_token": tokens["refresh_token"]})
            server.clock.ahead += type(server.clock.ahead)(seconds=60)
        assert fresh.status_code == 401
        assert (await server.get("/me")).status_code == 401
    assert (await events_of(server))[-1]["payload"]["reason"] == "refresh_token_reused"


async def test_however_often_a_refresh_is_tried_again_within_the_grace_the_session_goes_on(server):
    await made(server)
    async with acting(server) as tokens:
        asked = [server.post("/auth/refresh", {"refresh_token": tokens["refresh_token"]}) for _ in range(4)]
        renewed = {answer.json()["refresh_token"] for answer in await asyncio.gather(*asked)}
        assert len(renewed) == 1, "whichever answer got lost, the next token is the one to go on with"
        server.clock.ahead += timedelta(seconds=60)
        assert (await server.post("/auth/refresh", {"refresh_token": renewed.pop()})).status_code == 200
        assert (await server.get("/me")).status_code == 200


async def test_a_made_up_refresh_token_ends_nobodys_session(server):
    await made(server)
    async with acting(server) as tokens:
        session = tokens["refresh_token"].partition(".")[0]
        for made_up in (f"{session}.x", f"{session}.x.y", session, f"{tokens['refresh_token']}x"):
            assert (await server.post("/auth/refresh", {"refresh_token": made_up})).status_code == 401
        assert (await server.get("/me")).status_code == 200
        assert (await server.post("/auth/refresh", {"refresh_token": tokens["refresh_token"]})).status_code == 200


async def test_who_does_not_want_to_wait_signs_in_and_out_all_the_same(server):
    await made(server)
    form = {"grant_type": "password", "username": "bob", "password": BOBS}
    answer = await server.post("/auth/token", data=form, headers={"Prefer": "respond-async"})
    assert answer.status_code == 200, answer.text
    theirs = {"Authorization": f"Bearer {answer.json()['access_token']}", "Prefer": "respond-async"}
    assert (await server.post("/auth/logout", {"refresh_token": "x" * 900_000}, headers=theirs)).status_code == 200
    assert (await server.get("/me", headers=theirs)).status_code == 401


async def test_failed_sign_ins_are_told_once_whatever_the_caller_prefers_and_however_far_the_read_model_is(tmp_path):
    async with serving(tmp_path, audit_window_s=0.2, freshness_wait_s=0.1) as server:
        await made(server)
        form = {"grant_type": "password", "username": "bob", "password": "wrong-password"}
        await server.post("/auth/token", data=form, headers={"Prefer": "respond-async"})

        async def recorded():
            return [e for e in await events_of(server) if e["type"] == "SignInsFailed"]

        await eventually_async(recorded)
        await asyncio.sleep(1)  # five windows more
        assert len(await recorded()) == 1


async def test_what_was_taken_away_is_gone_when_the_answer_comes(server):
    for number in range(5):
        await server.post("/users", bob(name=f"bob-{number}"))
        async with acting(server, f"bob-{number}"):
            theirs = {"Authorization": f"Bearer {server.token}"}
        take = [
            ("DELETE", f"/users/bob-{number}", None),
            ("PATCH", f"/users/bob-{number}", {"disabled": True}),
            ("PUT", f"/users/bob-{number}/password", {"password": "given-by-admin"}),
        ][number % 3]
        assert (await server.send(*take)).status_code == 200
        assert (await server.get("/me", headers=theirs)).status_code == 401, take


async def test_a_password_reset_while_the_old_one_is_being_looked_at_leaves_it_good_for_nothing(server, monkeypatch):
    await made(server)
    reset = {"password": "given-by-admin"}
    ours = {"Authorization": f"Bearer {server.token}"}

    async def looked_at(call, user, name, password):
        right = await is_password_of(call, user, name, password)
        if password == BOBS:
            assert (await server.send("PUT", "/users/bob/password", reset, headers=ours)).status_code == 200
        return right

    async with acting(server):
        theirs = {"Authorization": f"Bearer {server.token}"}
    monkeypatch.setattr("api.routes.auth.is_password_of", looked_at)
    monkeypatch.setattr("api.routes.users.is_password_of", looked_at)
    own = {"current_password": BOBS, "password": "chosen-by-a-thief"}
    assert (await server.send("PUT", "/me/password", own, headers=theirs)).json()["code"] == "password_changed"
    await server.sign_in("bob", "given-by-admin")
    assert (await server.sign_in("bob", BOBS)).status_code == 401
    assert [e["type"] for e in await events_of_by(server, ours)][-1] == "PasswordChanged", "no session began"


async def events_of_by(server, headers):
    return (await server.get("/users/bob/history", headers=headers)).json()["items"]


@pytest.mark.parametrize("code", ["user_exists", "version_conflict"])
async def test_making_a_user_again_when_nobody_remembers_the_first_time_leaves_the_password_good(server, monkeypatch, code):
    key = {"Idempotency-Key": "k"}
    assert (await server.post("/users", bob(), headers=key)).status_code == 201

    async def forgotten(command_id):
        return None

    async def refused(write, command, attempt=1):
        raise Rejection(code)

    with monkeypatch.context() as patch:
        patch.setattr(server.log.outcomes, "find", forgotten)
        patch.setattr("api.submit.outcome_of", refused)
        assert (await server.post("/users", bob(), headers=key)).json()["code"] == code
    async with acting(server):
        pass


async def test_that_a_user_exists_is_not_told_by_waiting_for_a_version(server):
    await made(server, roles=["operator"])
    await server.post("/users", bob(name="eve", roles=["viewer"]))
    async with acting(server, "eve"):
        for stream in ("user/bob@1", "user/nobody@1", "credential/none@1"):
            assert (await server.get("/targets", headers={"Ops-Min-Version": stream})).status_code == 403, stream
        assert (await server.get("/targets", headers={"Ops-Min-Version": "user/eve@1"})).status_code == 200


async def test_an_administrator_who_cannot_sign_in_does_not_let_the_last_one_go(server):
    await server.post("/users", {"name": "ci", "roles": ["administrator"]})
    for patch in ({"disabled": True}, {"roles": []}):
        assert (await server.send("PATCH", "/users/admin", patch)).json()["code"] == "last_administrator"
    await server.send("PUT", "/users/ci/password", {"password": "now-it-has-one"})
    assert (await server.send("PATCH", "/users/admin", {"roles": []})).status_code == 200


async def test_who_may_read_no_more_follows_no_more(server):
    await server.post("/users", {"name": "eve", "roles": ["auditor"], "password": "eve-has-a-password"})
    mine = server.token
    takings = [{"roles": ["viewer"]}, {"disabled": True}]
    for number, taking in enumerate(takings):
        assert (await server.sign_in("eve", "eve-has-a-password")).status_code == 200
        until = (server.clock.now() + timedelta(hours=1)).isoformat()
        token = (await server.post("/users/eve/tokens", {"expires_at": until})).json()["token"]
        follower = await following(server)
        server.token = token
        also = await following(server)
        server.token = mine
        assert (await server.send("PATCH", "/users/eve", taking)).status_code == 200
        await server.post("/jobs", job(f"after-{number}"))
        for each in (follower, also):
            await asyncio.wait_for(each.task, 60)
            assert "after-" not in each.text
        await server.send("PATCH", "/users/eve", {"roles": ["auditor"], "disabled": False})


async def test_who_signs_out_follows_no_more(server):
    mine, _ = server.token, await server.sign_in()
    follower = await following(server)
    await server.post("/auth/logout", {})
    await asyncio.wait_for(follower.task, 60)
    server.token = mine
    assert (await server.get("/me")).status_code == 200


async def test_who_has_no_role_may_still_look_after_the_own_account(server):
    await made(server, roles=[])
    async with acting(server):
        assert (await server.get("/me")).json() == {"name": "bob", "roles": [], "permissions": ["self.read", "self.write"]}
        assert (await server.get("/targets")).status_code == 403
        own = {"current_password": BOBS, "password": "new-password-1"}
        assert (await server.send("PUT", "/me/password", own)).status_code == 200
        assert (await server.post("/auth/logout", {})).status_code == 200


async def test_a_failed_sign_in_that_comes_while_others_are_told_of_is_told_of_next():
    told, failures, noon = [], sign_in_failures(0.01), datetime(2026, 1, 1, 12, tzinfo=UTC)

    async def tell(command):
        told.append(command)
        if len(told) == 1:
            failures.note("bob", "", noon + timedelta(seconds=1), tell)

    failures.note("bob", "", noon, tell)
    await eventually_async(lambda: asyncio.sleep(0, len(told) == 2))
    assert [command.count for command in told] == [1, 1]
    assert (told[1].since, told[1].until) == (noon, noon + timedelta(seconds=1))

"""What can be done with custom roles, who may give what, and is it in force at once?"""

from domain.access import PERMISSIONS, ROLES, WHOLE_ONLY
from tests.api.conftest import job, made
from tests.api.limited import DENIED, PASSWORD, acting_as, somebody, told
from tests.api.server import Server

WEB = {"name": "web-op", "title": "Web", "permissions": ["jobs.read", "runs.start"], "limits": {"jobs": "web-*"}}


async def test_a_role_is_defined_shown_changed_and_removed(server: Server):
    written = await made(server, "/roles", WEB)
    assert (written["stream"], written["version"]) == ("role/web-op", 1)
    shown = (await server.get("/roles/web-op")).json()
    assert shown["limits"] == {"targets": None, "jobs": "web-*", "credentials": None} and not shown["built_in"]
    changed = await server.send("PATCH", "/roles/web-op", {"title": None, "limits": {"targets": "env=staging"}})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    after = (await server.get("/roles/web-op")).json()
    assert (after["title"], after["permissions"]) == ("", ["jobs.read", "runs.start"])
    assert after["limits"] == {"targets": "env=staging", "jobs": "web-*", "credentials": None}
    await server.send("PATCH", "/roles/web-op", {"limits": {"jobs": None}})
    assert (await server.get("/roles/web-op")).json()["limits"]["jobs"] is None
    await server.send("PATCH", "/roles/web-op", {"limits": None})
    assert (await server.get("/roles/web-op")).json()["limits"]["targets"] is None
    assert (await server.get("/roles/web-op", headers={"Ops-Min-Version": "role/web-op@4"})).status_code == 200
    assert (await server.get("/roles/web-op?as_of=1")).json()["title"] == "Web"
    assert (await server.send("DELETE", "/roles/web-op")).status_code == 200
    assert told(await server.send("DELETE", "/roles/web-op")) == (409, "role_removed")
    assert told(await server.post("/roles", WEB)) == (409, "role_exists")
    history = (await server.get("/roles/web-op/history")).json()["items"]
    assert [event["type"] for event in history] == ["RoleDefined", *["RoleChanged"] * 3, "RoleRemoved"]
    assert [role["name"] for role in (await server.get("/roles?removed=true")).json()["items"]] == ["web-op"]


async def test_built_in_roles_are_listed_among_the_others_and_cannot_be_touched(server: Server):
    for name in ("a-first", "b-mid", "c-mid", "o-mid", "z-last"):
        await made(server, "/roles", {**WEB, "name": name})
    every = sorted([*ROLES, "a-first", "b-mid", "c-mid", "o-mid", "z-last"])
    for sort, expected in (("name", every), ("-name", every[::-1])):
        for limit in (1, 2, 3, 4, 11, 12):
            seen, cursor = [], ""
            while cursor is not None:
                page = (await server.get(f"/roles?sort={sort}&limit={limit}{cursor}")).json()
                seen += [role["name"] for role in page["items"]]
                cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
            assert seen == expected, (sort, limit)
    viewer = (await server.get("/roles/viewer")).json()
    assert viewer["built_in"] and "jobs.read" in viewer["permissions"] and "jobs.write" not in viewer["permissions"]
    assert told(await server.send("PATCH", "/roles/viewer", {"title": "x"})) == (409, "role_built_in")
    assert told(await server.send("DELETE", "/roles/viewer")) == (409, "role_built_in")
    assert told(await server.post("/roles", {**WEB, "name": "viewer"})) == (409, "role_exists")
    assert told(await server.get("/roles/nobody")) == (404, "role_not_found")


async def test_what_is_wrong_with_a_role_is_named(server: Server):
    for change, field in (
        ({"name": "Web"}, "name"),
        ({"permissions": ["x"]}, "permissions.0"),
        ({"permissions": ["users.write"]}, "permissions.0"),
        ({"limits": {"jobs": "(a+)+$"}}, "limits.jobs"),
        ({"limits": {"targets": "=,"}}, "limits.targets"),
        ({"limits": {"hosts": "x"}}, "limits.hosts"),
        ({"built_in": True}, "built_in"),
        ({"permissions": ["jobs.read"] * 50_000}, "permissions"),
    ):
        assert told(await server.post("/roles", {**WEB, **change})) == (422, "validation_failed", field)
    await made(server, "/roles", WEB)
    assert told(await server.send("PATCH", "/roles/web-op", {"permissions": None})) == (422, "validation_failed", "permissions")
    for roles, fields in ((["administrator", "A/b"], ["roles.1"]), ([f"r-{n}" for n in range(50_000)], ["roles"])):
        assert told(await server.send("PATCH", "/users/admin", {"roles": roles})) == (422, "validation_failed", *fields)
    unstorable = await server.send("PATCH", "/users/admin", {"roles": ["administrator", "a\x00b"]})
    assert told(unstorable)[:2] == (422, "unstorable_text")


async def test_an_unknown_or_removed_role_is_not_granted_and_grants_nothing(server: Server):
    await made(server, "/roles", WEB)
    await made(server, "/jobs", job("web-1"))
    alice = await somebody(server, "alice", "web-op")
    with acting_as(server, alice):
        assert (await server.get("/jobs/web-1")).status_code == 200
    await server.send("DELETE", "/roles/web-op")
    with acting_as(server, alice):
        assert told(await server.get("/jobs/web-1")) == DENIED, "at once"
        assert (await server.get("/me")).json()["permissions"] == ["self.read", "self.write"]
    for name in ("web-op", "web-on"):
        body = {"name": "bob", "roles": ["viewer", name], "password": PASSWORD}
        assert told(await server.post("/users", body)) == (422, "validation_failed", "roles.1")
        change = await server.send("PATCH", "/users/admin", {"roles": ["administrator", name]})
        assert told(change) == (422, "validation_failed", "roles.1")


async def test_what_a_role_permits_changes_for_everybody_at_once(server: Server):
    await made(server, "/roles", WEB)
    await made(server, "/jobs", job("db-1"))
    alice = await somebody(server, "alice", "web-op")
    for limits, status in (({"jobs": None}, 200), ({"jobs": "web-*"}, 404), ({"jobs": "d?-1"}, 200)):
        await server.send("PATCH", "/roles/web-op", {"limits": limits})
        with acting_as(server, alice):
            assert (await server.get("/jobs/db-1")).status_code == status


async def test_nobody_gives_more_than_they_have_themselves(server: Server):
    managing = ["users.write", "users.read", "roles.write", "roles.read", "jobs.read"]
    await made(server, "/roles", {"name": "hr", "permissions": managing})
    await made(server, "/roles", WEB)
    dora = await somebody(server, "dora", "hr")
    token = (await made(server, "/users/admin/tokens", {"expires_at": "2030-01-01T00:00:00Z"}))["token_id"]
    await somebody(server, "alice", "web-op")
    with acting_as(server, dora):
        assert told(await server.post("/roles", {"name": "all", "permissions": ["audit.read"]})) == DENIED
        assert told(await server.send("PATCH", "/roles/hr", {"permissions": [*managing, "audit.read"]})) == DENIED
        assert told(await server.send("PATCH", "/roles/web-op", {"limits": None})) == DENIED, "runs.start is not hers to give"
        assert told(await server.send("PATCH", "/users/dora", {"roles": ["administrator"]})) == DENIED
        assert told(await server.send("PATCH", "/users/dora", {"roles": ["hr", "web-op"]})) == DENIED
        assert told(await server.send("PATCH", "/roles/web-op", {"permissions": ["jobs.read"]})) == DENIED, "nor to take away"
        assert told(await server.send("DELETE", "/roles/web-op")) == DENIED
        at_99 = {"If-Match": '"99"'}  # were it asked for, the decision would say that there is no such version
        unknown = await server.send("PATCH", "/users/dora", {"roles": ["hr", "web-on"]}, headers=at_99)
        assert told(unknown) == (422, "validation_failed", "roles.1"), "it may come to be anything before it is granted"
        for path, method, body in (
            ("/users/admin/tokens", "GET", None),
            (f"/users/admin/tokens/{token}", "DELETE", None),
            ("/users/admin/password", "PUT", {"password": "staple-battery-correct"}),
            ("/users/admin/tokens", "POST", {"expires_at": "2030-01-01T00:00:00Z"}),
            ("/users/admin", "PATCH", {"disabled": True}),
            ("/users/admin", "DELETE", None),
            ("/users/alice/password", "PUT", {"password": "staple-battery-correct"}),
        ):
            assert told(await server.send(method, path, body)) == DENIED, (method, path)
        await made(server, "/roles", {"name": "reads", "permissions": ["jobs.read"], "limits": {"jobs": "x*"}})
        await made(server, "/users", {"name": "erin", "roles": ["reads"], "password": PASSWORD})
        reset = await server.send("PUT", "/users/erin/password", {"password": "staple-battery-correct"})
        assert reset.status_code == 200, reset.text
        assert (await server.send("DELETE", "/users/erin")).status_code == 200


async def test_no_custom_role_gets_round_the_last_administrator(server: Server):
    everything = [permission for permission in PERMISSIONS if not permission.startswith("self.")]
    assert set(everything) >= WHOLE_ONLY
    await made(server, "/roles", {"name": "everything", "permissions": everything})
    with acting_as(server, await somebody(server, "dora", "everything")):
        for body in ({"disabled": True}, {"roles": ["everything"]}, {"roles": []}):
            assert told(await server.send("PATCH", "/users/admin", body)) == (409, "last_administrator")
        assert told(await server.send("DELETE", "/users/admin")) == (409, "last_administrator")

"""Can who manages users see where they are signed in, and end it there, of those alone who may do no more?"""

from tests.api.limited import told
from tests.api.server import Server
from tests.api.test_users import BOBS, acting, events_of, made

MANAGER = {"name": "manager", "permissions": ["users.read", "users.write", "targets.read"]}


async def sessions(server: Server, name: str = "bob") -> list[str]:
    answer = await server.get(f"/users/{name}/sessions")
    assert answer.status_code == 200, answer.text
    return [each["session"] for each in answer.json()["items"]]


async def test_an_administrator_sees_a_users_sessions_ends_one_and_then_all_and_the_trail_says_who(server: Server) -> None:
    await made(server)
    async with acting(server) as first, acting(server) as second, acting(server) as third:
        own = (await server.get("/me/sessions")).json()["items"]
    first, second, third = ({"session": each["refresh_token"].partition(".")[0], **each} for each in (first, second, third))
    listed = (await server.get("/users/bob/sessions")).json()
    assert listed == {"items": [{**each, "current": False} for each in own], "next_cursor": None}
    ended = await server.send("DELETE", f"/users/bob/sessions/{second['session']}")
    assert (ended.status_code, ended.json()) == (200, {"ended": [second["session"]]})
    assert told(await server.send("DELETE", f"/users/bob/sessions/{second['session']}")) == (404, "session_not_found")
    assert [await status(server, each) for each in (first, second, third)] == [200, 401, 200]
    assert (await server.send("DELETE", "/users/bob/sessions")).json() == {"ended": [first["session"], third["session"]]}
    assert [await status(server, each) for each in (first, second, third)] == [401, 401, 401]
    assert (await server.post("/auth/refresh", {"refresh_token": first["refresh_token"]})).status_code == 401
    assert (await server.send("DELETE", "/users/bob/sessions")).json() == {"ended": []} and await sessions(server) == []
    one, all_of_them = (event for event in await events_of(server) if event["type"] == "SessionsEnded")
    assert one["payload"] == {"sessions": [second["session"]], "reason": "revoked"}
    assert all_of_them["payload"] == {"sessions": [first["session"], third["session"]], "reason": "revoked"}
    assert {each["actor"]["name"] for each in (one, all_of_them)} == {"admin"}
    assert (await server.get("/me")).status_code == 200
    async with acting(server):
        assert (await server.get("/me")).status_code == 200, "bob may sign in again"


async def status(server: Server, tokens: dict[str, str]) -> int:
    return (await server.get("/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})).status_code


async def test_ones_own_are_among_them_and_of_nobody_there_are_none(server: Server) -> None:
    [mine] = await sessions(server, "admin")
    assert (await server.get("/users/admin/sessions")).json()["items"][0]["current"] is True
    for method, path in (("GET", "/users/nobody/sessions"), ("DELETE", "/users/nobody/sessions")):
        assert told(await server.send(method, path)) == (404, "user_not_found")
    assert told(await server.send("DELETE", "/users/nobody/sessions/x")) == (404, "user_not_found")
    assert (await server.send("DELETE", "/users/admin/sessions")).json() == {"ended": [mine]}
    assert (await server.get("/me")).status_code == 401


async def test_who_may_manage_users_ends_no_session_of_somebody_who_may_do_more(server: Server) -> None:
    assert (await server.post("/roles", MANAGER)).status_code == 201
    await made(server, roles=["manager"])
    await made(server, name="carol", roles=["operator"])
    await made(server, name="dave", roles=[])
    [admins] = await sessions(server, "admin")
    async with acting(server, "carol"), acting(server, "dave"), acting(server):
        assert await sessions(server, "admin") == [admins], "whoever reads users sees them"
        for path in ("/users/admin/sessions", f"/users/admin/sessions/{admins}", "/users/carol/sessions"):
            assert told(await server.send("DELETE", path)) == (403, "permission_denied"), path
        assert len((await server.send("DELETE", "/users/dave/sessions")).json()["ended"]) == 1
    async with acting(server, "carol"):
        for method, path in (("GET", "/users/bob/sessions"), ("DELETE", "/users/bob/sessions")):
            assert told(await server.send(method, path)) == (403, "permission_denied")
    assert await sessions(server, "admin") == [admins] and len(await sessions(server, "carol")) == 2
    assert BOBS.encode() not in server.everything_stored()

"""Does everybody see where they are signed in, and can they end it there, their own sessions alone?"""

from datetime import datetime, timedelta

from api.sessions import SessionsUnavailable
from tests.api.server import Server
from tests.api.test_users import BOBS, acting, events_of, made


async def items(server: Server) -> list[dict[str, object]]:
    answer = await server.get("/me/sessions")
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def time(text: object) -> datetime:
    return datetime.fromisoformat(str(text))


async def test_the_list_says_which_session_asks_when_each_began_and_when_it_was_last_refreshed(server: Server) -> None:
    await made(server)
    async with acting(server) as old, acting(server):
        begun = server.clock.now()
        server.clock.ahead += timedelta(hours=1)
        assert (await server.post("/auth/refresh", {"refresh_token": old["refresh_token"]})).status_code == 200
        server.clock.ahead += timedelta(hours=1)
        signed_in = await server.sign_in("bob", BOBS)
        assert signed_in.status_code == 200, signed_in.text
        newest, second, first = await items(server)
        assert [each["current"] for each in (newest, second, first)] == [True, False, False]
        assert first["session"] == old["refresh_token"].partition(".")[0] and first["begun_by"] == "password"
        for each in (second, first):
            assert abs(time(each["begun_at"]) - begun) < timedelta(minutes=1)
        assert abs(time(second["refreshed_at"]) - begun) < timedelta(minutes=1)
        assert abs(time(first["refreshed_at"]) - begun - timedelta(hours=1)) < timedelta(minutes=1)


async def test_a_session_that_was_ended_is_signed_in_nowhere_and_the_one_that_ended_it_goes_on(server: Server) -> None:
    await made(server)
    async with acting(server) as stolen:
        theirs = {"Authorization": f"Bearer {server.token}"}
        async with acting(server):
            ended = stolen["refresh_token"].partition(".")[0]
            answer = await server.send("DELETE", f"/me/sessions/{ended}")
            assert (answer.status_code, answer.json()) == (200, {"ended": [ended]})
            assert (await server.get("/me", headers=theirs)).status_code == 401
            assert (await server.post("/auth/refresh", {"refresh_token": stolen["refresh_token"]})).status_code == 401
            assert [each["current"] for each in await items(server)] == [True]
            again = await server.send("DELETE", f"/me/sessions/{ended}")
            assert (again.status_code, again.json()["code"]) == (404, "session_not_found")
    assert (await events_of(server))[-1]["payload"] == {"sessions": [ended], "reason": "sign_out"}


async def test_all_others_are_ended_at_once_and_there_may_be_none(server: Server) -> None:
    await made(server)
    async with acting(server) as first, acting(server) as second, acting(server):
        answer = await server.send("DELETE", "/me/sessions")
        assert answer.json() == {"ended": [each["refresh_token"].partition(".")[0] for each in (first, second)]}
        for each in (first, second):
            headers = {"Authorization": f"Bearer {each['access_token']}"}
            assert (await server.get("/me", headers=headers)).status_code == 401
        assert (await server.send("DELETE", "/me/sessions")).json() == {"ended": []}
        assert (await server.get("/me")).status_code == 200


async def test_nobody_ends_anothers_session_and_an_api_token_neither_lists_nor_ends_any(server: Server) -> None:
    await made(server)
    async with acting(server):
        [bobs] = await items(server)
    refused = await server.send("DELETE", f"/me/sessions/{bobs['session']}")
    assert (refused.status_code, refused.json()["code"]) == (404, "session_not_found")
    until = (server.clock.now() + timedelta(hours=1)).isoformat()
    server.token = (await server.post("/users/admin/tokens", {"expires_at": until})).json()["token"]
    for method, path in (("GET", "/me/sessions"), ("DELETE", "/me/sessions"), ("DELETE", "/me/sessions/x")):
        assert (await server.send(method, path)).status_code == 403, path
    async with acting(server):
        assert len(await items(server)) == 2, "the one from before and this one"


async def test_without_the_session_store_the_list_lacks_only_when_they_were_refreshed_and_ending_works(server: Server) -> None:
    await made(server)
    async with acting(server) as other, acting(server):

        async def down(*_: object) -> None:
            raise SessionsUnavailable("down")

        for name in ("user_of", "unused_s", "revoke", "is_revoked"):
            setattr(server.given.sessions, name, down)
        assert [each["refreshed_at"] for each in await items(server)] == [None, None]
        assert (await server.send("DELETE", "/me/sessions")).status_code == 200
        assert (await server.get("/me", headers={"Authorization": f"Bearer {other['access_token']}"})).status_code == 401

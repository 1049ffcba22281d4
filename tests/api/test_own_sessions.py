"""Does everybody see where they are signed in, and can they end it there, their own sessions alone?"""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import orjson

from api.sessions import REFRESH_S, SessionsUnavailable
from api.sign_in_flow import SESSION_S, session_of
from api.tokens import ACCESS_S
from domain.identity import USER
from domain.user.messages import RecordSignIn
from schemas.actor import Actor
from schemas.position import Partition
from schemas.topics import EVENT_TOPIC
from tests.api.server import SHARDS, Server, serving, told
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
        for name in ("user_of", "unused_s", "revoke", "is_revoked"):
            setattr(server.given.sessions, name, down)
        assert [each["refreshed_at"] for each in await items(server)] == [None, None]
        assert (await server.send("DELETE", "/me/sessions")).status_code == 200
        assert (await server.get("/me", headers={"Authorization": f"Bearer {other['access_token']}"})).status_code == 401


async def stand_still(server: Server) -> None:
    """No read model knows of anything any more that happens from now on."""
    server.follower.cancel()
    await asyncio.wait([server.follower])


async def test_a_session_that_may_go_on_for_now_is_not_told_to_have_ended(tmp_path: Path) -> None:
    """The session store has lost it, and the read model does not come so far in time."""
    async with serving(tmp_path, freshness_wait_s=0.3) as server:
        await made(server)
        async with acting(server) as other, acting(server):
            await stand_still(server)
            lost = other["refresh_token"].partition(".")[0]
            await server.given.sessions.revoke(lost)

            async def forgot(_: str) -> bool:
                return False

            server.given.sessions.is_revoked = forgot  # as after FLUSHALL: it knows neither the session nor that it has ended
            answer = await server.send("DELETE", "/me/sessions")
            assert (answer.status_code, answer.json()["code"]) == (503, "projection_lag")
            assert ended_in_the_log(server) == [[lost]]


def ended_in_the_log(server: Server) -> list[list[str]]:
    """The sessions that were ended, of everybody, as the log tells of them."""
    partitions = [Partition(EVENT_TOPIC[USER], shard) for shard in range(SHARDS)]
    records = [record for partition in partitions for _, record in server.log.storage.committed(partition, 0) if record]
    events = [orjson.loads(record.value) for record in records if ("ce_type", b"SessionsEnded") in record.headers]
    return [event["sessions"] for event in events]


async def test_all_others_are_ended_in_the_log_while_the_read_model_of_users_stands_still(tmp_path: Path) -> None:
    async with serving(tmp_path, freshness_wait_s=0.3) as server:
        await made(server)
        async with acting(server) as other, acting(server):
            mine, known = server.token, other["refresh_token"].partition(".")[0]
            await stand_still(server)
            late = await server.sign_in("bob", BOBS)
            assert (late.status_code, late.json()["code"]) == (503, "projection_lag"), "it began, and no read model knows of it"
            server.token = mine
            answer = await server.send("DELETE", "/me/sessions")
            assert (answer.status_code, answer.json()) == (200, {"ended": [known]})
            [ended] = ended_in_the_log(server)
            assert ended[0] == known and len(ended) == 2, "this one, and the one that nobody knew of"
            headers = {"Authorization": f"Bearer {other['access_token']}"}
            assert (await server.get("/me", headers=headers)).status_code == 401, "the session store has heard of it"
            assert (await server.get("/me")).status_code == 200


async def test_a_session_that_is_over_ends_no_other_even_where_it_is_not_known_to_be(tmp_path: Path) -> None:
    async with serving(tmp_path, freshness_wait_s=0.3) as server:
        await made(server)
        async with acting(server) as stolen, acting(server):
            await stand_still(server)
            assert (await server.send("DELETE", "/me/sessions")).status_code == 200
            server.given.sessions.is_revoked = nothing_is  # type: ignore[method-assign]
            headers = {"Authorization": f"Bearer {stolen['access_token']}"}
            refused = await server.send("DELETE", "/me/sessions", headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (404, "session_not_found")
            assert len(ended_in_the_log(server)) == 1


async def nothing_is(session: str) -> bool:
    """What a session store answers that has lost everything."""
    return False


async def test_one_session_is_ended_and_one_signs_out_while_the_read_model_of_users_stands_still(tmp_path: Path) -> None:
    async with serving(tmp_path, freshness_wait_s=0.3) as server:
        await made(server)
        async with acting(server) as other, acting(server):
            ended = other["refresh_token"].partition(".")[0]
            await stand_still(server)
            assert (await server.send("DELETE", f"/me/sessions/{ended}")).json() == {"ended": [ended]}
            assert (await server.send("DELETE", f"/me/sessions/{ended}")).status_code == 404, "decided in the log"
            assert (await server.post("/auth/logout")).status_code == 200
            assert (await server.get("/me")).status_code == 401
            assert len(ended_in_the_log(server)) == 2


async def test_a_session_that_nobody_refreshed_in_time_is_listed_no_more_but_while_it_may_still_be_good(server: Server) -> None:
    await made(server)
    async with acting(server):
        [old] = await items(server)
        server.clock.ahead += timedelta(seconds=REFRESH_S + ACCESS_S / 2)
        async with acting(server):
            assert [each["session"] for each in await items(server)][1:] == [old["session"]], "its last access token may be good"
            server.clock.ahead += timedelta(seconds=ACCESS_S)
            async with acting(server):
                assert old["session"] not in {each["session"] for each in await items(server)}
                server.given.sessions.unused_s = down  # type: ignore[method-assign]
                assert old["session"] in {each["session"] for each in await items(server)}, "nobody knows better"


async def down(*_: object) -> Mapping[str, float]:
    """What a session store answers that cannot be asked."""
    raise SessionsUnavailable("down")


async def test_a_session_that_an_identity_provider_stood_for_is_listed_until_nothing_of_it_can_be_good(server: Server) -> None:
    await made(server)
    theirs = session_of(server.given.ids.new_id())
    await told(server, "user/bob", RecordSignIn(theirs), Actor("user", "bob"))
    for ahead, is_listed in ((SESSION_S, True), (ACCESS_S + 60, False)):
        server.clock.ahead += timedelta(seconds=ahead)
        async with acting(server):
            assert (theirs in {each["session"] for each in await items(server)}) is is_listed

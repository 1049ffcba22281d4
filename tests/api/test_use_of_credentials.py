"""Who may let a target carry a credential, and lead one that does elsewhere?"""

from typing import Any

import pytest

from tests.api.conftest import made, target
from tests.api.limited import DENIED, acting_as, told, two_halves
from tests.api.server import Server

EDITS = ("targets.read", "targets.write")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG"
FIELD = "connection.credential"


@pytest.mark.parametrize(
    "change",
    [
        {"host": "evil.example.org"},
        {"connection": {"port": 2222}},
        {"connection": {"host_key": KEY}},
        {"connection": {"host_key": None}, "host": "10.9.9.9"},
        {"connection": {"credential": "web-key"}},
    ],
)
async def test_whoever_may_not_use_a_credential_leads_it_nowhere(server: Server, change: Any):
    alice = await two_halves(server, EDITS, {})
    with acting_as(server, alice):
        assert told(await server.send("PATCH", "/targets/web-01", change)) == (*DENIED, FIELD)
        assert (await server.get("/targets/web-01")).json()["version"] == 1
        for name in ("deploy-key", "no-such-key"):
            body = target("web-02", connection={"credential": name})
            assert told(await server.post("/targets", body)) == (*DENIED, FIELD), "whether it is there is not told"


async def test_what_does_not_touch_the_connection_takes_no_use(server: Server):
    alice = await two_halves(server, EDITS, {})
    with acting_as(server, alice):
        same = {
            "title": "Web",
            "labels": {"rack": "7"},
            "host": "10.0.0.5",
            "connection": {"port": 22, "credential": "deploy-key"},
        }
        assert (await server.send("PATCH", "/targets/web-01", same)).status_code == 200


async def test_use_may_be_limited_to_some_credentials(server: Server):
    alice = await two_halves(server, (*EDITS, "credentials.use"), {"credentials": "web-*"})
    with acting_as(server, alice):
        await made(server, "/targets", target("web-02", connection={"credential": "web-key"}))
        assert (await server.send("PATCH", "/targets/web-02", {"host": "10.0.0.9"})).status_code == 200
        assert told(await server.send("PATCH", "/targets/web-02", {"connection": {"credential": "deploy-key"}})) == (
            *DENIED,
            FIELD,
        )
        assert told(await server.send("PATCH", "/targets/web-01", {"host": "10.0.0.9"})) == (*DENIED, FIELD)
        taken = await server.send("PATCH", "/targets/web-01", {"host": "10.0.0.9", "connection": {"credential": "web-key"}})
        assert taken.status_code == 200, "another credential is led there, one that she may use"
        absent = await server.send("PATCH", "/targets/web-01", {"connection": {"credential": "web-none"}})
        assert told(absent) == (422, "validation_failed", FIELD)


async def test_a_credential_put_in_place_between_the_look_and_the_decision_is_not_led_away(server: Server):
    alice = await two_halves(server, (*EDITS, "credentials.use"), {"credentials": "web-*"})
    with acting_as(server, alice):
        await made(server, "/targets", target("web-02", connection={"credential": "web-key"}))
    administrator, send, swaps = server.token, server.log.sender.send, [True]

    async def swapping(command: Any) -> None:
        if command.type == "ChangeTarget" and command.actor.name == "alice" and swaps:
            swaps.clear()
            with acting_as(server, administrator):
                swap = await server.send("PATCH", "/targets/web-02", {"connection": {"credential": "deploy-key"}})
                assert swap.status_code == 200
        await send(command)

    server.log.sender.send = swapping  # type: ignore[method-assign]
    with acting_as(server, alice):
        stolen = await server.send("PATCH", "/targets/web-02", {"host": "evil.example.org"})
    assert not swaps and told(stolen) == (*DENIED, FIELD)
    shown = (await server.get("/targets/web-02", headers={"Ops-Min-Version": "target/web-02@2"})).json()
    assert (shown["host"], shown["connection"]["credential"], shown["version"]) == ("10.0.0.5", "deploy-key", 2)


async def test_a_change_that_was_overtaken_by_a_harmless_one_is_judged_anew_and_made(server: Server):
    alice = await two_halves(server, (*EDITS, "credentials.use"), {"credentials": "*-key"})
    administrator, send, others = server.token, server.log.sender.send, [3, 2, 1]

    async def overtaking(command: Any) -> None:
        if command.type == "ChangeTarget" and command.actor.name == "alice" and others:
            with acting_as(server, administrator):
                await server.send("PATCH", "/targets/web-01", {"title": f"Web {others.pop()}"})
        await send(command)

    server.log.sender.send = overtaking  # type: ignore[method-assign]
    with acting_as(server, alice):
        key = {"Idempotency-Key": "k"}
        moved = await server.send("PATCH", "/targets/web-01", {"host": "10.0.0.9"}, headers=key)
        again = await server.send("PATCH", "/targets/web-01", {"host": "10.0.0.9"}, headers=key)
    assert moved.status_code == 200 and moved.json() == again.json() and moved.json()["version"] == 5

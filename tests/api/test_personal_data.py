"""Is it known who a user is for as long as it should be, and forgotten for good when the user is erased?"""

import asyncio
import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import select

from api import personal_data as module
from api.personal_data import PersonalData
from infra.vaults import sweeping
from infra.vaults.references import references
from projections.tables import users
from schemas.vault import VaultError, bound_to_title
from tests.api.conftest import made
from tests.api.server import Server
from tests.api.test_secrets import sealed
from tests.api.test_users import acting
from tests.support.eventually import eventually_async

TITLE = "Bobřík Ünderhill-Canary 4711"
PASSWORD = "bob-has-a-password"
BOB = {"name": "bob", "title": TITLE, "roles": ["operator"], "password": PASSWORD}
TOKEN = {"title": "CI", "permissions": None, "expires_at": "2099-01-01T00:00:00Z"}


def forms(text: str) -> dict[str, bytes]:
    """A text as it is and as something might have written it."""
    raw = text.encode()
    found = {"as it is": raw, "in UTF-16": text.encode("utf-16-le"), "in UTF-16 the other way": text.encode("utf-16-be")}
    found |= {"in hex": raw.hex().encode(), "in HEX": raw.hex().upper().encode(), "in a URL": quote(text).encode()}
    found |= {"in JSON": text.encode("ascii", "backslashreplace"), "as Python shows it": repr(raw)[2:-1].encode()}
    for offset in range(3):
        found[f"in base64+{offset}"] = base64.b64encode(b"x" * offset + raw)[(4 if offset else 0) : -4]
    return found


def found_in_clear(server: Server, *texts: str) -> list[str]:
    stored = server.everything_stored()
    assert b"user/bob" in stored, "the scan sees what is stored"
    return [f"{text} {form}" for text in texts for form, part in forms(text).items() if part in stored]


async def shown(server: Server, name: str = "bob", **more: Any) -> Any:
    answer = await server.get(f"/users/{name}", **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def row_of(server: Server, name: str = "bob") -> Mapping[str, Any]:
    def row() -> Mapping[str, Any]:
        with server.given.engine.connect() as connection:
            return dict(connection.execute(select(users).where(users.c.name == name)).mappings().one())

    return await asyncio.to_thread(row)


async def test_a_title_is_shown_to_who_may_see_users_and_stands_nowhere_in_clear(server: Server):
    await made(server, "/users", BOB)
    user = await shown(server)
    assert user["title"] == TITLE and user["sealed_title"]
    listed = (await server.get("/users")).json()["items"]
    assert [(each["name"], each["title"]) for each in listed] == [("admin", ""), ("bob", TITLE)]
    events = (await server.get("/users/bob/history")).json()["items"]
    assert events[1]["type"] == "TitleChanged" and events[1]["payload"] == {"secret": user["sealed_title"]}
    assert await server.given.vault.open(user["sealed_title"], bound_to_title("bob")) == TITLE.encode()
    assert (await server.send("PATCH", "/users/bob", {"title": TITLE + " II"})).status_code == 200
    assert (await shown(server))["title"] == TITLE + " II"
    assert found_in_clear(server, TITLE) == []


async def test_histories_former_states_audit_and_export_name_the_vaults_id_alone(server: Server):
    await made(server, "/users", BOB)
    ident = (await shown(server))["sealed_title"]
    then = await shown(server, params={"as_of": "2"})
    assert (then["title"], then["sealed_title"]) == (None, ident)
    lists = (await server.get("/users", params={"as_of": server.clock.now().isoformat()})).json()["items"]
    assert [(each["name"], each["title"]) for each in lists] == [("admin", ""), ("bob", None)]
    for path in ("/users/bob/history", "/audit/events?limit=1000", "/audit/export"):
        answer = await server.get(path)
        assert answer.status_code == 200 and ident in answer.text and TITLE not in answer.text, path


async def test_a_title_that_is_given_again_changes_nothing_and_one_taken_away_is_empty(server: Server):
    version = (await made(server, "/users", BOB))["version"]
    again = await server.send("PATCH", "/users/bob", {"title": TITLE})
    assert (again.status_code, again.json()["version"]) == (200, version)
    assert (await server.send("PATCH", "/users/bob", {"title": None})).json()["version"] == version + 1
    assert (await server.send("PATCH", "/users/bob", {"title": ""})).json()["version"] == version + 1
    user = await shown(server)
    assert (user["title"], user["sealed_title"]) == ("", None)
    assert (await server.send("PATCH", "/users/bob", {"title": TITLE})).json()["version"] == version + 2
    assert (await shown(server))["title"] == TITLE


async def test_a_former_title_is_let_go_of_after_a_minute(server: Server):
    await made(server, "/users", BOB)
    first = (await shown(server))["sealed_title"]
    version = (await server.send("PATCH", "/users/bob", {"title": "Robert"})).json()["version"]
    await server.get("/users/bob/history", headers={"Ops-Min-Version": f"user/bob@{version}"})
    assert over(server, timedelta(0)) == ([], [])
    assert over(server, timedelta(seconds=61)) == ([], [first])
    with server.given.engine.begin() as connection:
        assert references(connection, runs=False)[first].bound_to == bound_to_title("bob")


async def test_a_title_in_use_stays_however_long_it_is_swept_for(server: Server):
    await made(server, "/users", BOB)
    await server.get("/users/bob/history", headers={"Ops-Min-Version": "user/bob@3"})
    writer, now, kept = server.given.vault._writer, server.clock.now(), await sealed(server)
    for later in (timedelta(0), 2 * sweeping.UNNAMED_FOR):
        assert sweeping.sweep_unnamed(writer, now + later) == [] and over(server, later) == ([], [])
    assert await sealed(server) == kept and (await shown(server))["title"] == TITLE


async def test_a_title_that_came_to_nothing_is_destroyed(server: Server):
    await made(server, "/users", BOB)
    before = await sealed(server)
    assert (await server.post("/users", {**BOB, "title": "Another"})).json()["code"] == "user_exists"
    stale = await server.send("PATCH", "/users/bob", {"title": "Another"}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    assert (await server.send("PATCH", "/users/nobody", {"title": "Another"})).status_code == 404
    assert await sealed(server) == before


@pytest.mark.parametrize("title", ["a\nb", "x" * 201, "a\x7fb"])
async def test_a_wrong_title_is_refused_and_nothing_is_sealed(server: Server, title: str):
    await made(server, "/users", BOB)
    before = await sealed(server)
    for answer in (
        await server.post("/users", {"name": "eve", "title": title}),
        await server.send("PATCH", "/users/bob", {"title": title}),
    ):
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "title")
    assert await sealed(server) == before


def over(server: Server, later: timedelta) -> tuple[list[str], list[str]]:
    with server.given.engine.begin() as connection:
        return sweeping.over(connection, server.clock.now() + later)


async def lived(server: Server) -> tuple[dict[str, str], set[str]]:
    """Bob, with two titles, two passwords, a session, two API tokens: what he signs in with, and the ids of his secrets."""
    before = await sealed(server)
    await made(server, "/users", {**BOB, "title": "Robert " + TITLE})
    assert (await server.send("PATCH", "/users/bob", {"title": TITLE})).status_code == 200
    assert (await server.send("PUT", "/users/bob/password", {"password": PASSWORD + "!"})).status_code == 200
    tokens = [(await made(server, "/users/bob/tokens", TOKEN))["token"] for _ in range(2)]
    assert (await server.send("DELETE", f"/users/bob/tokens/{tokens[1].split('.')[2]}")).status_code == 200
    async with acting(server, "bob", PASSWORD + "!"):
        with_session = server.token
    return {"session": with_session, "token": tokens[0]}, await sealed(server) - before


async def is_signed_in(server: Server, token: str) -> bool:
    return (await server.get("/me", headers={"Authorization": f"Bearer {token}"})).status_code == 200


async def test_of_an_erased_user_nothing_but_the_name_is_left(server: Server):
    ways, secrets = await lived(server)
    assert len(secrets) == 6 and [await is_signed_in(server, token) for token in ways.values()] == [True, True]
    assert (await shown(server))["title"] == TITLE
    answer = await server.send("DELETE", "/users/bob/personal-data")
    assert answer.status_code == 200, answer.text
    assert not secrets & await sealed(server)
    assert [await is_signed_in(server, token) for token in ways.values()] == [False, False]
    user = await shown(server)
    assert (user["title"], user["sealed_title"], user["erased"], user["disabled"]) == ("", None, True, True)
    assert (user["roles"], user["linked"], user["service"]) == ([], None, False)
    row = await row_of(server)
    assert (row["password"], row["sessions"], row["tokens"], row["sealed_title"]) == (None, [], [], None)
    assert (await server.sign_in("bob", PASSWORD + "!")).json()["code"] == "invalid_credentials"
    assert found_in_clear(server, TITLE, "Robert " + TITLE) == []
    assert (await server.post("/audit/verify")).json()["intact"] is True
    assert (await server.get("/users/bob/history")).json()["items"][-1]["type"] == "UserErased"


async def test_an_erased_user_comes_never_back(server: Server):
    await lived(server)
    assert (await server.send("DELETE", "/users/bob/personal-data")).status_code == 200
    before = await sealed(server)
    for method, path, body in (
        ("PATCH", "/users/bob", {"disabled": False}),
        ("PATCH", "/users/bob", {"title": "Bob"}),
        ("PATCH", "/users/bob", {"roles": ["viewer"]}),
        ("DELETE", "/users/bob", None),
        ("PUT", "/users/bob/password", {"password": PASSWORD}),
        ("POST", "/users/bob/tokens", TOKEN),
    ):
        answer = await server.send(method, path, body)
        assert (answer.status_code, answer.json()["code"]) == (409, "user_erased"), (method, path, answer.text)
    assert (await server.post("/users", BOB)).json()["code"] == "user_exists"
    assert await sealed(server) == before


async def test_a_change_that_is_sent_again_after_the_erasure_seals_nothing_again(server: Server):
    await made(server, "/users", BOB)
    change = {"title": TITLE}, {"Idempotency-Key": "one"}
    first = await server.send("PATCH", "/users/bob", change[0], headers=change[1])
    assert (await server.send("DELETE", "/users/bob/personal-data")).status_code == 200
    left = await sealed(server)
    again = await server.send("PATCH", "/users/bob", change[0], headers=change[1])
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert await sealed(server) == left


async def test_erasing_again_says_the_same(server: Server):
    await lived(server)
    first, again = [await server.send("DELETE", "/users/bob/personal-data") for _ in range(2)]
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["version"] == again.json()["version"]
    assert (await server.send("DELETE", "/users/nobody/personal-data")).json()["code"] == "user_not_found"


async def test_what_was_erased_while_the_vault_did_not_answer_is_destroyed_by_the_sweep_or_by_asking_again(server: Server):
    _, secrets = await lived(server)
    shred = server.given.vault.shred

    async def down(*given: object) -> None:
        raise VaultError("no answer")

    server.given.vault.shred = down  # type: ignore[method-assign]
    answer = await server.send("DELETE", "/users/bob/personal-data")
    assert (answer.status_code, answer.json()["code"]) == (503, "vault_unavailable")
    user = await shown(server)
    assert (user["title"], user["erased"]) == ("", True), "it is recorded and in force"
    shredded, ended = over(server, timedelta(0))
    assert (set(shredded), ended) == (secrets, [])
    server.given.vault.shred = shred  # type: ignore[method-assign]
    assert (await server.send("DELETE", "/users/bob/personal-data")).status_code == 200
    assert over(server, timedelta(0)) == ([], []) and not secrets & await sealed(server)


async def test_neither_oneself_nor_the_last_administrator_is_erased(server: Server):
    own = await server.send("DELETE", "/users/admin/personal-data")
    assert (own.status_code, own.json()["code"]) == (409, "own_account")
    everything = (await server.get("/me")).json()["permissions"]
    permissions = [each for each in everything if not each.startswith("self.")]
    await made(server, "/roles", {"name": "deputy", "permissions": permissions})
    await made(server, "/users", {"name": "eve", "roles": ["deputy"], "password": PASSWORD})
    async with acting(server, "eve", PASSWORD):
        last = await server.send("DELETE", "/users/admin/personal-data")
    assert (last.status_code, last.json()["code"]) == (409, "last_administrator")


async def test_who_may_not_manage_a_users_account_does_not_erase_it(server: Server):
    await made(server, "/users", BOB)
    await made(server, "/roles", {"name": "front-desk", "permissions": ["users.read", "users.write"]})
    for name, role in (("eve", "front-desk"), ("fay", "auditor")):
        await made(server, "/users", {"name": name, "roles": [role], "password": PASSWORD})
        async with acting(server, name, PASSWORD):
            refused = await server.send("DELETE", "/users/bob/personal-data")
            assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    assert (await shown(server))["erased"] is False


async def test_read_models_rebuilt_after_an_erasure_are_as_they_were(server: Server):
    await lived(server)
    assert (await server.send("DELETE", "/users/bob/personal-data")).status_code == 200
    before = [await row_of(server, name) for name in ("admin", "bob")]
    generation = await live_generation(server)
    assert (await server.post("/projections/users/rebuild")).status_code == 202
    await eventually_async(lambda: newer(server, generation), 20)
    assert [await row_of(server, name) for name in ("admin", "bob")] == before


async def live_generation(server: Server) -> int:
    found = {each["name"]: each for each in (await server.get("/projections")).json()["items"]}["users"]
    return int(found["generation"]) if found["state"] == "live" else 0


async def newer(server: Server, than: int) -> bool:
    return await live_generation(server) > than


# --- what a vault is asked for, and what when it does not answer ------------------------------------------------


class Asked:
    """A vault that counts, and may be silent."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []
        self.silent = False

    async def open_many(self, wanted: Mapping[str, str]) -> dict[str, bytes]:
        self.asked.append(set(wanted))
        if self.silent:
            raise VaultError("no answer")
        return {ident: f"{bound_to}".encode() for ident, bound_to in wanted.items() if ident != "gone"}


def rows(*idents: str) -> list[dict[str, Any]]:
    return [{"name": f"u-{ident}", "sealed_title": ident, "linked": None} for ident in idents]


async def test_a_page_of_titles_is_asked_for_at_once_and_only_what_is_not_remembered():
    vault = Asked()
    known = PersonalData(vault)  # type: ignore[arg-type]
    found = await known.of([*rows("a", "b", "gone"), {"name": "x", "sealed_title": None, "linked": None}])
    assert found == {"a": "user/u-a/title", "b": "user/u-b/title"}
    assert await known.of(rows("b", "c")) == {"b": "user/u-b/title", "c": "user/u-c/title"}
    linked = [{"name": "x", "sealed_title": None, "linked": {"identity": "digest", "secret": "who"}}]
    before = [{"name": "x", "sealed_title": None, "linked": {"issuer": "https://id.example.org", "subject": "x"}}]
    assert await known.of([*linked, *before]) == {"who": "user/x/identity"}
    assert await known.of([]) == {}
    assert vault.asked == [{"a", "b", "gone"}, {"c"}, {"who"}]


async def test_a_title_is_forgotten_when_told_and_by_itself(monkeypatch: pytest.MonkeyPatch):
    vault = Asked()
    known = PersonalData(vault)  # type: ignore[arg-type]
    await known.of(rows("a"))
    known.forget(["a", "never known"])
    assert known._kept == {}
    monkeypatch.setattr(module, "KEPT_S", 0.01)
    await known.of(rows("a"))
    assert known._kept

    async def none_is_left() -> bool:
        return not known._kept

    await eventually_async(none_is_left)
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    await known.of(rows(*"abcde"))
    assert len(known._kept) <= 3


async def test_a_silent_vault_is_left_alone_for_a_moment(monkeypatch: pytest.MonkeyPatch):
    vault = Asked()
    known = PersonalData(vault)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "RESTS_S", 0.01)
    vault.silent = True
    assert await known.of(rows("a")) == {}
    assert await known.of(rows("a")) == {} and len(vault.asked) == 1
    vault.silent = False

    async def is_known() -> bool:
        return bool(await known.of(rows("a")))

    await eventually_async(is_known)


async def test_a_vault_that_does_not_answer_breaks_no_list_and_the_answer_says_what_it_lacks(
    server: Server, monkeypatch: pytest.MonkeyPatch
):
    await made(server, "/users", BOB)
    monkeypatch.setattr(module, "WITHIN_S", 0.05)

    async def hangs(wanted: Mapping[str, str]) -> dict[str, bytes]:
        await asyncio.Event().wait()
        return {}

    monkeypatch.setattr(server.given.vault, "open_many", hangs)
    user = await shown(server, headers={"Ops-Min-Version": "user/bob@3"})
    assert user["title"] is None and user["sealed_title"]
    listed = (await server.get("/users")).json()["items"]
    assert [(each["name"], each["title"], each["sealed_title"] is None) for each in listed] == [
        ("admin", "", True),
        ("bob", None, False),
    ]

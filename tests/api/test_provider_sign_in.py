"""Does who signs in with an identity provider become the right user, and nobody whom it does not name?"""

import asyncio
import os
import signal
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from api.api_tokens import CONFIRMED_S
from api.app import create_app
from api.kept_keys import load_keys
from api.linking import digest_of
from api.routes.provider_sign_in import COOKIE
from api.sign_in_flow import GRANT_S, SESSION_S, challenge_of
from infra.oidc.provider import OidcProvider, may_be_asked
from schemas.vault import SecretUnavailable, VaultError, bound_to_identity
from tests.api.house import House, linked_in_clear, rules, second_name
from tests.api.server import Server
from tests.support.provider import CLIENT, SECRET, running_provider


async def test_who_signs_in_first_becomes_a_user_with_the_roles_of_their_groups(house: House):
    answer = await house.sign_in()
    assert answer.status_code == 200, answer.text
    me = await house.me(answer.json()["access_token"])
    assert (me["name"], me["roles"]) == ("carol", ["operator"])
    shown = (await house.server.get("/users/carol")).json()
    assert shown["title"] == "Carol C." and shown["service"] is False
    assert shown["linked"] == {"issuer": house.idp.url, "subject": "c-1"}
    types = [event["type"] for event in (await house.server.get("/users/carol/history")).json()["items"]]
    assert types == ["UserCreated", "IdentityLinked", "TitleChanged", "RoleGranted", "SignedIn"]


async def test_a_session_says_that_an_identity_provider_stands_for_it_and_when_it_began(house: House):
    begun = house.server.clock.now()
    headers = {"Authorization": f"Bearer {(await house.sign_in()).json()['access_token']}"}
    [own] = (await house.http.get("/api/v1/me/sessions", headers=headers)).json()["items"]
    assert (own["begun_by"], own["current"]) == ("identity_provider", True)
    for time_of in ("begun_at", "refreshed_at"):
        assert abs(datetime.fromisoformat(own[time_of]) - begun) < timedelta(minutes=1)


async def test_at_the_next_sign_in_the_roles_are_those_of_the_groups_then(house: House):
    await house.sign_in()
    house.idp.becomes(groups=["leads"])
    assert (await house.me((await house.sign_in()).json()["access_token"]))["roles"] == ["operator", "author"]


async def test_without_a_group_that_gives_a_role_nobody_is_made(house: House):
    house.idp.becomes(groups=["everybody"])
    answer = await house.sign_in()
    assert (answer.status_code, answer.json()["code"]) == (403, "identity_refused")
    assert (await house.server.get("/users/carol")).status_code == 404


async def test_who_has_no_group_any_more_that_gives_a_role_is_refused_and_keeps_none(house: House):
    before = (await house.sign_in()).json()["access_token"]
    body = {"title": "CI", "expires_at": "2999-01-01T00:00:00Z"}
    signed_in = {"Authorization": f"Bearer {before}"}
    issued = (await house.http.post("/api/v1/users/carol/tokens", json=body, headers=signed_in)).json()["token"]
    with_token = {"Authorization": f"Bearer {issued}"}
    assert (await house.http.get("/api/v1/jobs", headers=with_token)).status_code == 200
    house.idp.becomes(groups=["everybody"])
    for _ in range(2):
        answer = await house.sign_in()
        assert (answer.status_code, answer.json()["code"]) == (403, "identity_refused")
    assert (await house.http.get("/api/v1/jobs", headers=with_token)).status_code == 403, "nor by an API token of before"
    assert (await house.me(before))["roles"] == []
    house.idp.becomes(groups=["ops"])
    assert (await house.me((await house.sign_in()).json()["access_token"]))["roles"] == ["operator"]


async def test_who_is_known_signs_in_also_when_the_provider_has_no_name_for_them_that_could_be_one_here(house: House):
    await house.sign_in()
    house.idp.becomes(preferred_username="Carol Müller")
    assert (await house.me((await house.sign_in()).json()["access_token"]))["name"] == "carol"


async def test_a_name_that_no_user_can_have_is_refused(house: House):
    for name in ("a/b", "", "-x", "ä", 7, None, "x" * 64):
        house.idp.becomes(preferred_username=name)
        assert (await house.sign_in()).json()["code"] == "identity_refused", name


async def test_a_name_that_somebody_has_is_not_taken_over(house: House):
    await house.sign_in()
    for other in (
        {"sub": "c-9", "preferred_username": "admin", "groups": ["root"]},
        {"sub": "c-2", "preferred_username": "carol"},
    ):
        house.idp.becomes(**other)
        answer = await house.sign_in()
        assert (answer.status_code, answer.json()["code"]) == (403, "identity_refused"), other


async def test_who_is_called_otherwise_at_the_provider_is_the_same_user_here_and_loses_what_the_groups_no_longer_give(
    house: House,
):
    house.idp.becomes(groups=["root"])
    before = (await house.sign_in()).json()["access_token"]
    house.idp.becomes(preferred_username="caroline", groups=["ops"])
    after = await house.me((await house.sign_in()).json()["access_token"])
    assert (after["name"], after["roles"]) == ("carol", ["operator"])
    assert (await house.me(before))["roles"] == ["operator"], "a token of before gives no more than one of now"
    assert (await house.server.get("/users/caroline")).status_code == 404


async def test_an_api_token_rests_while_the_provider_has_not_said_for_long_who_its_owner_is(house: House):
    tokens = (await house.sign_in()).json()
    body = {"title": "CI", "expires_at": "2999-01-01T00:00:00Z"}
    signed_in = {"Authorization": f"Bearer {tokens['access_token']}"}
    issued = await house.http.post("/api/v1/users/carol/tokens", json=body, headers=signed_in)
    assert issued.status_code == 201, issued.text
    with_token = {"Authorization": f"Bearer {issued.json()['token']}"}
    assert (await house.http.get("/api/v1/me", headers=with_token)).status_code == 200
    house.server.clock.ahead += timedelta(seconds=CONFIRMED_S)
    assert (await house.http.get("/api/v1/me", headers=with_token)).status_code == 401


async def test_a_disabled_user_does_not_sign_in_and_nobody_gets_a_password_for_them(house: House):
    await house.sign_in()
    reset = await house.server.send("PUT", "/users/carol/password", {"password": "correct-horse-battery"})
    assert (reset.status_code, reset.json()["code"]) == (409, "user_linked")
    assert (await house.server.send("DELETE", "/users/carol")).status_code == 200
    assert (await house.sign_in()).json()["code"] == "identity_refused"


async def test_who_was_linked_in_clear_is_the_same_user_and_linked_by_a_digest_from_the_next_sign_in_on(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    await linked_in_clear(house, monkeypatch)
    assert (await house.server.get("/users/carol")).json()["linked"] == {"issuer": house.idp.url, "subject": "c-1"}
    for name in ("caroline", "carolina"):
        house.idp.becomes(preferred_username=name)
        assert (await house.me((await house.sign_in()).json()["access_token"]))["name"] == "carol"
    types = [event["type"] for event in (await house.server.get("/users/carol/history")).json()["items"]]
    assert types == ["UserCreated", "UserLinked", "RoleGranted", "SignedIn", "IdentityLinked", "SignedIn", "SignedIn"]
    shown = (await house.server.get("/users/carol")).json()
    assert (shown["linked"], shown["title"]) == ({"issuer": house.idp.url, "subject": "c-1"}, "Carol C.")


async def test_who_has_two_names_from_before_is_refused_until_one_of_them_is_erased(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    await house.sign_in()
    await second_name(house, monkeypatch)
    for _ in range(2):
        refused = await house.sign_in()
        assert (refused.status_code, refused.json()["code"]) == (403, "identity_refused")
    shown = [user for user in (await house.server.get("/users")).json()["items"] if user["linked"]]
    assert [user["name"] for user in shown] == ["carol", "caroline"], "an administrator sees them"
    assert (await house.server.send("DELETE", "/users/caroline/personal-data")).status_code == 200
    assert (await house.me((await house.sign_in()).json()["access_token"]))["name"] == "carol"


async def test_who_was_linked_in_clear_is_taken_over_by_nobody(house: House, monkeypatch: pytest.MonkeyPatch):
    await linked_in_clear(house, monkeypatch)
    house.idp.becomes(sub="c-2")
    assert (await house.sign_in()).json()["code"] == "identity_refused"
    assert (await house.server.get("/users/carol")).json()["linked"]["subject"] == "c-1"


async def test_whom_the_provider_names_stands_nowhere_in_clear_and_is_shown_out_of_the_vault(house: House):
    subject = "subject-canary-7781@example.org"
    house.idp.becomes(sub=subject)
    await house.sign_in()
    await house.sign_in()
    shown = (await house.server.get("/users/carol")).json()
    assert shown["linked"] == {"issuer": house.idp.url, "subject": subject}
    then = (await house.server.get("/users/carol?as_of=2")).json()
    assert then["linked"] == {"issuer": None, "subject": None}
    assert subject.encode() not in house.server.everything_stored()
    linked = (await house.server.get("/users/carol/history")).json()["items"][1]["payload"]
    assert linked["identity"] == digest_of(house.server.given.keys.identities, house.idp.url, subject)
    assert (await house.server.send("DELETE", "/users/carol/personal-data")).status_code == 200
    with pytest.raises(SecretUnavailable):
        await house.server.given.vault.open(linked["secret"], bound_to_identity("carol"))
    assert (await house.server.get("/users/carol")).json()["linked"] is None


async def test_an_erased_person_whom_the_provider_calls_otherwise_is_somebody_new(house: House):
    await house.sign_in()
    assert (await house.server.send("DELETE", "/users/carol/personal-data")).status_code == 200
    house.idp.becomes(preferred_username="caroline")
    assert (await house.me((await house.sign_in()).json()["access_token"]))["name"] == "caroline"


async def test_processes_that_begin_at_once_know_people_by_one_key_and_different_people_are_different(house: House):
    server = house.server
    keys = await asyncio.gather(*(load_keys(server.given.vault, server.given.ids, None) for _ in range(4)))
    assert {each.identities for each in keys} == {server.given.keys.identities}
    await server.given.vault.destroy("api-identities-key")
    made = await asyncio.gather(*(load_keys(server.given.vault, server.given.ids, None) for _ in range(4)))
    assert len({each.identities for each in made}) == 1 and made[0].identities != keys[0].identities
    people = [("https://a", "x"), ("https://a", "y"), ("https://b", "x"), ("https://ax", "")]
    assert len({digest_of(made[0].identities, *who) for who in people}) == len(people)


async def test_the_title_that_the_provider_says_is_sealed_once_and_stands_nowhere_in_clear(house: House):
    house.idp.becomes(name="Carola Canary")
    await house.sign_in()
    first = (await house.server.get("/users/carol")).json()
    await house.sign_in()
    assert first["title"] == "Carola Canary" and (await house.server.get("/users/carol")).json()["title"] == "Carola Canary"
    house.idp.becomes(name="Carola Canary-Else")
    await house.sign_in()
    assert (await house.server.get("/users/carol")).json()["title"] == "Carola Canary-Else"
    types = [event["type"] for event in (await house.server.get("/users/carol/history")).json()["items"]]
    assert types.count("TitleChanged") == 2
    assert b"Carola" not in house.server.everything_stored()


async def test_a_vault_that_does_not_answer_keeps_nobody_from_signing_in(house: House, monkeypatch: pytest.MonkeyPatch):
    async def down(*given: object) -> None:
        raise VaultError("no answer")

    with monkeypatch.context() as silent:
        silent.setattr(house.server.given.vault, "seal", down)
        assert (await house.sign_in()).status_code == 200
    shown = (await house.server.get("/users/carol")).json()
    assert (shown["title"], shown["linked"]) == ("", {"issuer": None, "subject": None})
    await house.sign_in()
    assert (await house.server.get("/users/carol")).json()["title"] == "Carol C."


async def test_an_erased_user_does_not_sign_in_and_the_name_is_given_to_nobody(house: House):
    tokens = (await house.sign_in()).json()
    assert (await house.server.send("DELETE", "/users/carol/personal-data")).status_code == 200
    signed_in = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await house.http.get("/api/v1/me", headers=signed_in)).status_code == 401
    answer = await house.sign_in()
    assert (answer.status_code, answer.json()["code"]) == (403, "identity_refused")
    house.idp.becomes(sub="c-2")
    assert (await house.sign_in()).json()["code"] == "identity_refused"
    shown = (await house.server.get("/users/carol")).json()
    assert (shown["linked"], shown["title"], shown["erased"]) == (None, "", True)


TWISTED = {
    "without a signature": {"sign": "none", "header": {"alg": "none"}},
    "signed with nothing under the right name": {"sign": "none"},
    "signed with the public key as a password": {"sign": "public key", "header": {"alg": "HS256"}},
    "signed by somebody else": {"sign": "another key"},
    "with a key it brings along": {"header": {"jwk": {"kty": "RSA"}}},
    "with a key to be fetched": {"header": {"jku": "https://evil.example.org/jwks"}},
    "with a critical extension": {"header": {"crit": ["exp"]}},
    "under an unknown key": {"header": {"kid": "nobody"}},
    "for somebody else": {"claims": {"aud": "another"}},
    "for us among others, authorised to another": {"claims": {"aud": [CLIENT, "another"], "azp": "another"}},
    "for us among others, authorised to nobody": {"claims": {"aud": [CLIENT, "another"]}},
    "of another issuer": {"claims": {"iss": "https://evil.example.org"}},
    "in answer to another question": {"claims": {"nonce": "another"}},
    "in answer to no question": {"without": ["nonce"]},
    "that is over": {"claims": {"iat": 1_000_000_000, "exp": 1_000_000_060}},
    "that begins in an hour": {"claims": {"iat": 4_000_000_000, "exp": 4_000_000_060}},
    "that never ends": {"without": ["exp"]},
    "that ends at no number": {"claims": {"exp": "4000000000"}},
    "of nobody": {"claims": {"sub": ""}},
    "of somebody whom no table takes": {"claims": {"sub": "c-1\0"}},
    "of somebody beyond ASCII": {"claims": {"sub": "c-ä"}},
    "of somebody longer than anybody may be": {"claims": {"sub": "c" * 256}},
    "as long as a book": {"claims": {"groups": ["x" * 20_000]}},
}


async def test_an_id_token_that_is_not_the_answer_is_refused(house: House):
    for name, twist in TWISTED.items():
        house.idp.twists(**twist)
        answer = await house.sign_in()
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_sign_in"), (name, answer.text)
    assert (await house.server.get("/users/carol")).status_code == 404
    house.idp.twists()
    assert (await house.sign_in()).status_code == 200


async def test_a_provider_with_one_key_need_not_name_it_but_one_with_several_must(house: House):
    house.idp.twists(header={"kid": None}, two_keys=True)
    assert (await house.sign_in()).status_code == 401
    house.later_s += 7_200
    house.idp.twists(header={"kid": None})
    assert (await house.sign_in()).status_code == 200


async def test_a_provider_that_changes_its_keys_is_understood_at_once(house: House):
    await house.sign_in()
    for kind in ("ES256", "RS256"):
        house.idp.rotates(kind)
        house.later_s += 11
        assert (await house.sign_in()).status_code == 200


async def test_claims_that_the_id_token_lacks_are_asked_for_and_only_of_the_same_user(house: House):
    house.idp.twists(thin=True)
    assert (await house.sign_in()).status_code == 200
    house.idp.twists(thin=True, user_info={"sub": "c-2"})
    assert (await house.sign_in()).json()["code"] == "invalid_sign_in"


async def test_only_the_browser_that_began_can_end_it_once_and_with_its_own_answer(house: House):
    back = await house.back()
    cookie = house.http.cookies[COOKIE]
    house.http.cookies.clear()
    assert (await house.http.get(back)).json()["code"] == "invalid_sign_in", "another browser"
    house.http.cookies.set(COOKIE, cookie[:-2] + ("AA" if cookie[-2:] != "AA" else "BB"))
    assert (await house.http.get(back)).json()["code"] == "invalid_sign_in", "a cookie made up"
    await house.begun()
    assert (await house.http.get(back)).json()["code"] == "invalid_sign_in", "an answer to what was asked before"
    house.http.cookies.clear()
    house.http.cookies.set(COOKIE, cookie)
    assert (await house.http.get(f"{back}&iss=https://evil.example.org")).json()["code"] == "invalid_sign_in", "mixed up"
    assert (await house.http.get(back)).status_code == 200
    house.http.cookies.set(COOKIE, cookie)
    assert (await house.http.get(back)).json()["code"] == "invalid_sign_in", "the provider takes a code once"


async def test_a_sign_in_that_takes_too_long_is_over(house: House):
    back = await house.back()
    house.server.clock.ahead += timedelta(minutes=11)
    assert (await house.http.get(back)).json()["code"] == "invalid_sign_in"


async def test_what_the_provider_refuses_is_told(house: House):
    state = parse_qs(urlsplit(await house.begun()).query)["state"][0]
    answer = await house.http.get(f"/api/v1/auth/oidc/callback?error=access_denied&error_description=no&state={state}")
    assert (answer.status_code, answer.json()["code"]) == (403, "identity_refused")


async def test_the_question_carries_a_challenge_and_the_cookie_is_for_this_alone(house: House):
    answer = await house.http.get("/api/v1/auth/oidc/start")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    assert asked["code_challenge_method"] == "S256" and len(asked["code_challenge"]) == 43
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    said = answer.headers["set-cookie"]
    assert all(part in said for part in ("HttpOnly", "SameSite=lax", "Secure", "Path=/api/v1/auth/oidc", "Max-Age=600"))
    assert answer.headers["cache-control"] == "no-store"


VERIFIER = "v" * 43


async def granted(house: House) -> str:
    answer = await house.http.get(await house.back(f"?port=40000&challenge={challenge_of(VERIFIER)}"))
    where = urlsplit(answer.headers["location"])
    assert answer.status_code == 302 and where.netloc == "127.0.0.1:40000"
    return parse_qs(where.query)["grant"][0]


async def test_a_program_trades_its_grant_with_its_own_verifier_alone(house: House):
    grant = await granted(house)
    for body in (
        {"grant": grant, "verifier": "w" * 43},
        {"grant": grant[:-1], "verifier": VERIFIER},
        {"grant": "", "verifier": ""},
    ):
        assert (await house.http.post("/api/v1/auth/oidc/tokens", json=body)).json()["code"] == "invalid_sign_in"
    answer = await house.http.post("/api/v1/auth/oidc/tokens", json={"grant": grant, "verifier": VERIFIER})
    assert (await house.me(answer.json()["access_token"]))["name"] == "carol"
    again = await house.http.post("/api/v1/auth/oidc/tokens", json={"grant": grant, "verifier": VERIFIER})
    assert (again.status_code, again.json()["code"]) == (401, "invalid_sign_in"), "a grant is good once"
    renewed = await house.http.post("/api/v1/auth/refresh", json={"refresh_token": answer.json()["refresh_token"]})
    assert renewed.status_code == 200, "and what it gave goes on"
    late = await granted(house)
    house.server.clock.ahead += timedelta(seconds=GRANT_S)
    refused = await house.http.post("/api/v1/auth/oidc/tokens", json={"grant": late, "verifier": VERIFIER})
    assert refused.json()["code"] == "invalid_sign_in"


ASKED_WRONGLY = (
    ("port=80&challenge=" + "c" * 43, "port"),
    ("port=99999&challenge=" + "c" * 43, "port"),
    ("port=4000@evil.example.org&challenge=" + "c" * 43, "port"),
    ("port=40000", "challenge"),
    ("challenge=" + "c" * 43, "port"),
    ("port=40000&challenge=short", "challenge"),
    ("to=https://evil.example.org", "to"),
)


async def test_a_program_that_asks_for_anything_else_is_told(house: House):
    for query, field in ASKED_WRONGLY:
        answer = await house.http.get(f"/api/v1/auth/oidc/start?{query}")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field), query


async def test_a_session_goes_on_for_half_a_day_and_then_asks_the_provider_again(house: House):
    tokens = (await house.sign_in()).json()
    for _ in range(11):
        house.server.clock.ahead += timedelta(hours=1)
        answer = await house.http.post("/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert answer.status_code == 200
        tokens = answer.json()
    house.server.clock.ahead += timedelta(seconds=SESSION_S - 11 * 3_600)
    answer = await house.http.post("/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_refresh_token")


async def test_a_provider_that_does_not_answer_is_told_and_our_own_users_sign_in_all_the_same(house: House, tmp_path: Path):
    with running_provider() as other:
        provider = OidcProvider(rules(other), SECRET, house.server.clock.seconds)
        transport = httpx2.ASGITransport(app=create_app(replace(house.server.given, provider=provider)))
        async with httpx2.AsyncClient(transport=transport, base_url="https://ops.example.org") as http:
            where = (await http.get("/api/v1/auth/oidc/start")).headers["location"]
            back = other.signs_in(where).removeprefix("https://ops.example.org")
            os.kill(other.pid, signal.SIGKILL)
            answer = await http.get(back)
            assert (answer.status_code, answer.json()["code"]) == (503, "identity_provider_unavailable")
            assert (await house.server.sign_in()).status_code == 200
        await provider.close()


def test_a_provider_elsewhere_does_not_lead_us_to_this_machine_s_ports():
    there, here = "https://id.example.org", "http://127.0.0.1:9400"
    assert may_be_asked("https://keys.example.org/jwks", there) and may_be_asked(f"{here}/token", here)
    for url in (f"{here}/token", "http://id.example.org/token", "file:///etc/passwd", "//id.example.org", None, 7):
        assert not may_be_asked(url, there), url


async def test_a_provider_under_another_name_is_none(house: House):
    house.idp.twists(issuer="https://evil.example.org")
    answer = await house.http.get("/api/v1/auth/oidc/start")
    assert (answer.status_code, answer.json()["code"]) == (503, "identity_provider_unavailable")


async def test_without_a_provider_there_is_none(server: Server):
    for method, path in (("GET", "start"), ("GET", "callback")):
        answer = await server.send(method, f"/auth/oidc/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "identity_provider_not_set")

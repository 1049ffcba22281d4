"""Is every forged, old or mistaken token refused, and does signing in give nothing away?"""

import asyncio
import base64
import json
import time
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from jose import jwt

from api.caller_address import networks
from api.problem_details import Problem
from api.sessions import SessionsUnavailable
from api.tokens import ACCESS_S, KEY_BOUND_TO, KEY_ID, Access, NotAuthentic, Tokens, signing_key
from tests.api.server import PASSWORD, serving


def b64(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def status_with(server, token):
    server.token = token
    return (await server.get("/me")).status_code


async def test_forged_tokens_are_refused(server):
    good = server.token
    assert await status_with(server, good) == 200
    head, body, signature = good.split(".")
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in (head, body))
    pem = await server.given.vault.open(KEY_ID, KEY_BOUND_TO)
    public = load_pem_private_key(pem, None).public_key()
    forged = {f"alg {alg!r}": f"{b64({**header, 'alg': alg})}.{body}." for alg in ("none", "None", "", None, "HS256")}
    forged["no alg"] = f"{b64({'typ': header['typ'], 'kid': header['kid']})}.{body}.{signature}"
    for name, key in {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "ssh": public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "jwks": json.dumps(server.given.tokens.jwks()).encode(),
    }.items():
        forged[f"hs256 with the public key as {name}"] = hs256(key, header, claims)
    for key in ("jku", "jwk", "x5u", "crit", "zip"):
        forged[f"header {key}"] = jwt.encode(claims, pem.decode(), algorithm="ES256", headers={**header, key: ["x"]})
    forged |= {
        "typ": jwt.encode(claims, pem.decode(), algorithm="ES256", headers={**header, "typ": "JWT"}),
        "kid": jwt.encode(claims, pem.decode(), algorithm="ES256", headers={**header, "kid": "other"}),
        "kid of another type": jwt.encode(claims, pem.decode(), algorithm="ES256", headers={**header, "kid": [1]}),
        "jwe": ".".join([head, body, body, body, signature]),
        "changed": f"{head}.{b64({**claims, 'sub': 'root'})}.{signature}",
        "cut": good[:-2],
        "large": f"{head}.{body}{'A' * 1_000_000}.{signature}",
        "deep": f"{head}.{b64(b'[' * 3000)}.{signature}",
        "deep header": f"{b64(b'[' * 3000)}.{body}.{signature}",
        "words": "x.y.z",
        "empty": "",
        "latin": "é.é.é",
    }
    for name, token in forged.items():
        begin = time.thread_time()
        with pytest.raises(NotAuthentic):
            server.given.tokens.verify(token, server.clock.now())
        assert time.thread_time() - begin < 0.2, f"{name} is slow"
    for name in ("alg 'none'", "hs256 with the public key as pem", "jwe", "large", "changed"):
        assert await status_with(server, forged[name]) == 401, name


async def test_a_token_is_good_as_it_was_written_alone(server):
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    good, now = server.token, server.clock.now()
    head, body, signature = good.split(".")
    last = letters.index(signature[-1])
    assert last % 16 == 0, "of the last letter of 64 bytes two bits are used"
    others = [f"{good}{more}" for more in ("=", "==", "====", "\n", " ", "!", "A")]
    others += [f"{head}.{body}.{signature[:-1]}{letters[last + unused]}" for unused in range(1, 16)]
    others += [f"{head}=.{body}.{signature}", f"{head}.{body}=.{signature}", f"{head}.{body}.{signature[:9]}\n{signature[9:]}"]
    others += [good.replace("-", "+").replace("_", "/") + "=="]
    for other in others:
        with pytest.raises(NotAuthentic):
            server.given.tokens.verify(other, now)
    assert await status_with(server, good + "==") == 401
    assert server.given.tokens.verify(good, now).user == "admin"


def hs256(key, header, claims):
    import hashlib
    import hmac

    said = f"{b64({**header, 'alg': 'HS256'})}.{b64(claims)}"
    return f"{said}.{b64(hmac.new(key, said.encode(), hashlib.sha256).digest())}"


async def test_claims_must_all_be_there_be_of_their_type_and_be_ours(server):
    pem = await server.given.vault.open(KEY_ID, KEY_BOUND_TO)
    head, body, _ = server.token.split(".")
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in (head, body))
    wrong = [{k: v for k, v in claims.items() if k != missing} for missing in claims]
    wrong += [
        {**claims, "aud": "other"},
        {**claims, "aud": ["opsconductor-api"]},
        {**claims, "iss": "other"},
        {**claims, "sub": 1},
    ]
    wrong += [{**claims, "exp": value} for value in (str(claims["exp"]), float(claims["exp"]), 10**400, claims["iat"] - 1, None)]
    wrong += [{**claims, "nbf": claims["nbf"] + 60}, {**claims, "iat": claims["iat"] + 60}, {**claims, "exp": claims["exp"] + 1}]
    wrong += [{**claims, "roles": ["administrator"]}, {**claims, "exp": float("inf")}]
    for forged in wrong:
        segments = f"{b64(header)}.{b64(forged)}"
        token = f"{segments}.{b64(signing_key(pem).private.sign(segments.encode()))}"
        with pytest.raises(NotAuthentic):
            server.given.tokens.verify(token, server.clock.now())


async def test_a_token_is_taken_by_a_process_whose_clock_is_a_little_behind(server):
    behind, ids = server.clock.now(), server.given.ids
    for ahead, is_taken in ((3, True), (7, False)):
        token = server.given.tokens.sign(Access("admin", "s"), ids.new_id(), behind + timedelta(seconds=ahead))
        try:
            assert (server.given.tokens.verify(token, behind).user == "admin") and is_taken
        except NotAuthentic:
            assert not is_taken, f"{ahead} s ahead"


async def test_a_token_is_good_for_fifteen_minutes_and_only_under_a_known_key(server):
    now, tokens = server.clock.now(), server.given.tokens
    token = tokens.sign(Access("admin", "s"), server.given.ids.new_id(), now)
    assert tokens.verify(token, now + timedelta(seconds=ACCESS_S - 2)).user == "admin"
    with pytest.raises(NotAuthentic):
        tokens.verify(token, now + timedelta(seconds=ACCESS_S + 1))
    pem = await server.given.vault.open(KEY_ID, KEY_BOUND_TO)
    other = Tokens(signing_key(new_pem()), signing_key(pem))
    assert other.verify(token, now).user == "admin", "a retiring key is still taken"
    with pytest.raises(NotAuthentic):
        Tokens(signing_key(new_pem())).verify(token, now)
    keys = (await server.get("/.well-known/jwks.json")).json()["keys"]
    assert [set(key) for key in keys] == [{"kty", "crv", "x", "y", "kid", "alg", "use"}], "public parts only"


def new_pem():
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


async def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(server):
    server.token = ""
    wrong, unknown, odd = [
        await server.sign_in(*who) for who in (("admin", "wrong"), ("nobody", "wrong"), ("No Slug\x00", "wrong"))
    ]
    for answer in (wrong, unknown, odd):
        assert answer.status_code == 401 and answer.headers["content-type"] == "application/problem+json"
        assert {k: v for k, v in answer.json().items() if k != "correlation_id"} == {
            k: v for k, v in wrong.json().items() if k != "correlation_id"
        }


async def test_attempts_cost_a_growing_delay_that_ends_and_holds_up_no_other_account(server):
    codes = [(await server.sign_in("admin", "wrong")).status_code for _ in range(8)]
    assert codes[:5] == [401] * 5 and codes[-1] == 429, codes
    refused = await server.sign_in("admin", PASSWORD)
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    assert (await server.sign_in("other", "wrong")).status_code == 401, "another account is not delayed"
    server.clock.ahead += timedelta(seconds=61)
    assert (await server.sign_in("admin", PASSWORD)).status_code == 200
    server.clock.ahead = timedelta()
    assert (await server.sign_in("admin", PASSWORD)).status_code == 200, "and then all is forgotten"


async def test_of_wrong_passwords_with_many_names_at_once_from_one_address_only_the_free_ones_are_looked_at(server, monkeypatch):
    monkeypatch.setattr("api.sign_in_limit.FREE_BY_ADDRESS", 8)
    answers = await asyncio.gather(*(server.sign_in(f"name-{n}", "wrong") for n in range(30)))
    assert sorted(answer.status_code for answer in answers) == [401] * 8 + [429] * 22
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 429)
    assert (await server.sign_in()).status_code == 429, "nor is the next one"
    server.clock.ahead += timedelta(seconds=2)
    assert (await server.sign_in()).status_code == 200, "the refused ones do not count"


async def test_sign_ins_that_succeed_leave_no_trace_in_the_count_of_their_address(server, monkeypatch):
    monkeypatch.setattr("api.sign_in_limit.FREE_BY_ADDRESS", 3)
    for n in range(2):
        assert (await server.sign_in(f"name-{n}", "wrong")).status_code == 401
    for _ in range(3):
        server.clock.ahead += timedelta(seconds=400)
        assert (await server.sign_in()).status_code == 200
    for n in range(3):
        assert (await server.sign_in(f"other-{n}", "wrong")).status_code == 401, "what was long ago is forgotten by now"
    assert (await server.sign_in()).status_code == 429


async def test_an_attempt_that_broke_off_says_nothing_about_the_password_and_does_not_count(server, monkeypatch):
    async def broken(*_):
        raise Problem("read_models_unavailable")

    with monkeypatch.context() as patched:
        patched.setattr("api.routes.auth.is_password_of", broken)
        assert [(await server.sign_in("admin", "wrong")).status_code for _ in range(7)] == [503] * 7
    assert (await server.sign_in()).status_code == 200


async def test_a_guesser_who_never_rests_holds_up_sign_ins_at_that_address_and_neither_those_elsewhere_nor_who_is_in(tmp_path):
    async with serving(tmp_path, trusted_proxies=networks("127.0.0.0/8")) as server:
        expires = (server.clock.now() + timedelta(days=1)).isoformat()
        token = (await server.post("/users/admin/tokens", {"expires_at": expires})).json()["token"]
        form = {"grant_type": "password", "username": "admin", "password": PASSWORD}

        async def try_from(address, password=PASSWORD):
            sent = {**form, "password": password}
            return await server.post("/auth/token", data=sent, headers={"X-Forwarded-For": address})

        inside = (await try_from("192.0.2.1")).json()
        for _ in range(5):
            assert (await try_from("192.0.2.1", "wrong")).status_code == 401
        for _ in range(8):
            held_up = await try_from("192.0.2.1")
            assert held_up.status_code == 429, "the limit that the documents tell of"
            assert (await try_from("192.0.2.2")).status_code == 200, "from elsewhere"
            server.clock.ahead += timedelta(seconds=int(held_up.headers["retry-after"]))
            assert (await try_from("192.0.2.1", "wrong")).status_code == 401, "the guesser is there first, each time"
        assert await status_with(server, token) == 200, "API tokens go on"
        renewed = await server.post("/auth/refresh", {"refresh_token": inside["refresh_token"]})
        assert renewed.status_code == 200, "and so do sessions"


async def test_refresh_tokens_rotate_and_one_used_again_ends_the_session(server):
    first = (await server.sign_in()).json()["refresh_token"]
    answer = await server.post("/auth/refresh", {"refresh_token": first})
    second = answer.json()["refresh_token"]
    assert answer.status_code == 200 and second != first
    lost = await server.post("/auth/refresh", {"refresh_token": first})
    assert lost.status_code == 200, "an answer lost on the way is no theft, for a moment"
    assert lost.json()["refresh_token"] == second
    access = lost.json()["access_token"]
    server.clock.ahead += timedelta(seconds=30)
    stolen = await server.post("/auth/refresh", {"refresh_token": first})
    assert (stolen.status_code, stolen.json()["code"]) == (401, "invalid_refresh_token")
    assert (await server.post("/auth/refresh", {"refresh_token": second})).status_code == 401, "the whole session is over"
    assert await status_with(server, access) == 401
    for text in ("", "x", "x.y", access):
        assert (await server.post("/auth/refresh", {"refresh_token": text})).status_code == 401


async def test_after_signing_out_neither_token_is_good(server):
    tokens = (await server.sign_in()).json()
    assert (await server.post("/auth/logout", {})).status_code == 200
    assert (await server.get("/me")).status_code == 401
    assert (await server.post("/auth/refresh", {"refresh_token": tokens["refresh_token"]})).status_code == 401
    assert await status_with(server, tokens["refresh_token"]) == 401


async def test_with_the_session_store_down_access_tokens_go_on_and_refreshing_says_so(server):
    tokens = (await server.sign_in()).json()

    async def down(*_):
        raise SessionsUnavailable("down")

    for name in ("begin", "user_of", "refresh", "revoke", "is_revoked"):
        setattr(server.given.sessions, name, down)
    assert (await server.get("/me")).status_code == 200
    assert (await server.post("/auth/refresh", {"refresh_token": tokens["refresh_token"]})).status_code == 503
    assert (await server.post("/auth/logout", {})).status_code == 200, "the log knows it"
    assert (await server.get("/me")).status_code == 401
    signed_in = await server.sign_in()
    assert signed_in.status_code == 200 and signed_in.json()["refresh_token"] is None


async def test_no_other_header_says_who_asks(server):
    server.token = ""
    for headers in (
        {"X-Forwarded-User": "admin"},
        {"Cookie": "token=x"},
        {"Authorization": "Basic YWRtaW46eA=="},
        {"Authorization": "Bearer"},
        {"ce_actor": "user:admin"},
    ):
        assert (await server.get("/me", headers=headers)).status_code == 401, headers

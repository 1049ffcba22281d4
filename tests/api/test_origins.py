"""Which pages may read answers, and does what a caller says of the host lead anywhere?"""

from pathlib import Path

import pytest

from api.caller_address import networks
from api.cors import origins
from tests.api.conftest import job
from tests.api.server import Server, scope_of, serving

OURS = "https://ops.example.org"


async def asked_first(server: Server, origin: str, path: str = "/jobs"):
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    return await server.http.request("OPTIONS", f"/api/v1{path}", headers=headers)


def cors_headers(answer) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control-")}


async def test_no_page_of_another_origin_may_read_anything_by_default(server: Server) -> None:
    answer = await server.get("/me", headers={"Origin": OURS})
    assert answer.status_code == 200 and cors_headers(answer) == set()
    assert (await asked_first(server, OURS)).status_code == 405
    assert cors_headers(await asked_first(server, OURS)) == set()


async def test_pages_of_a_named_origin_may_read_and_write_and_no_others(tmp_path: Path) -> None:
    async with serving(tmp_path, cors_origins=origins(f"{OURS}, http://localhost:5173")) as server:
        first = await asked_first(server, OURS)
        assert (first.status_code, first.headers["access-control-allow-origin"]) == (204, OURS)
        assert "POST" in first.headers["access-control-allow-methods"]
        assert "idempotency-key" in first.headers["access-control-allow-headers"].lower()
        answer = await server.get("/me", headers={"Origin": OURS})
        assert (answer.headers["access-control-allow-origin"], answer.headers["vary"]) == (OURS, "Origin")
        assert "ETag" in answer.headers["access-control-expose-headers"]
        refused = await server.get("/jobs/absent", headers={"Origin": OURS})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (404, OURS), "problems are read, too"
        for other in (
            "https://evil.example",
            f"{OURS}.evil.example",
            "https://OPS.example.org",
            "http://ops.example.org",
            "null",
        ):
            answer = await server.get("/me", headers={"Origin": other})
            assert (cors_headers(answer), answer.headers["vary"]) == (set(), "Origin"), other
            assert cors_headers(await asked_first(server, other)) == set()
        for answer in (first, await server.get("/me", headers={"Origin": OURS})):
            assert "access-control-allow-credentials" not in answer.headers, "never with credentials"


@pytest.mark.parametrize(
    "text",
    ["*", "null", "https://*.example.org", "https://ops.example.org/", "ops.example.org", "https://u@h", "https://Ops.org"],
)
def test_what_is_no_exact_origin_is_no_setting(text: str) -> None:
    with pytest.raises(ValueError, match="origin"):
        origins(text)


async def secured(server: Server, scheme: str = "http", proto: str = "", peer: str = "127.0.0.1") -> bool:
    """Whether an answer tells browsers to come by TLS only."""
    scope = scope_of("GET", "/health/live", {"X-Forwarded-Proto": proto} if proto else {})
    scope |= {"scheme": scheme, "client": (peer, 4711)}
    told: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict) -> None:
        told.append(message)

    await server.app(scope, receive, send)
    return b"strict-transport-security" in dict(told[0]["headers"])


async def test_browsers_are_told_to_stay_with_tls_where_there_is_tls(tmp_path: Path) -> None:
    async with serving(tmp_path, trusted_proxies=networks("10.0.0.0/8")) as server:
        assert await secured(server, scheme="https")
        assert await secured(server, proto="https", peer="10.0.0.1")
        assert not await secured(server)
        assert not await secured(server, proto="http", peer="10.0.0.1")
        assert not await secured(server, proto="https", peer="203.0.113.7"), "who is not trusted says nothing about TLS"


async def test_a_poisoned_host_header_stands_in_no_answer(server: Server) -> None:
    evil = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    made = await server.post("/jobs", job(), headers=evil)
    assert (made.status_code, made.headers["location"]) == (201, "/api/v1/jobs/greet")
    pending = await server.post("/jobs/greet/runs", {}, headers={**evil, "Prefer": "respond-async"})
    assert pending.headers["location"].startswith("/api/v1/commands/")
    answers = [made, pending]
    for path in ("/jobs", "/jobs/absent", "/openapi.json", "/health", "/.well-known/jwks.json", "/me/"):
        answers.append(await server.get(path, headers=evil))
    assert all(b"evil.example" not in answer.content + repr(answer.headers).encode() for answer in answers)

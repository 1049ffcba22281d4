"""What does somebody try who means harm, by HTTP and with tokens? Each test is one attack, on a whole API."""

import base64
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from infra.cli.document import read
from infra.cli.given import BadFile
from infra.telemetry.logs import set_up_logs
from tests.api.conftest import credential, job, made, target
from tests.api.server import Server

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def test_a_refresh_token_is_no_access_token_nor_an_access_token_a_refresh_token(server: Server) -> None:
    tokens = (await server.sign_in()).json()
    server.token = tokens["refresh_token"]
    assert (await server.get("/me")).status_code == 401
    refused = await server.post("/auth/refresh", {"refresh_token": tokens["access_token"]})
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_refresh_token")


async def test_a_token_in_the_address_or_a_cookie_is_none_so_no_page_can_send_it_for_somebody(server: Server) -> None:
    good, server.token = server.token, ""
    for path in ("/me", "/events/stream", "/audit/export"):
        for query in (f"?access_token={good}", f"?token={good}", f"?authorization=Bearer%20{good}"):
            assert (await server.get(path + query)).status_code == 401, path + query
    for name in ("token", "access_token", "session", "Authorization"):
        cookie = {"Cookie": f"{name}={good}", "Origin": "https://evil.example"}
        assert (await server.post("/jobs", job(), headers=cookie)).status_code == 401
    signed_in = await server.sign_in()
    assert "set-cookie" not in signed_in.headers, "there is nothing a browser would send by itself"


async def test_a_thousand_nested_levels_in_a_token_cost_next_to_nothing(server: Server) -> None:
    head, _, signature = server.token.split(".")
    deep = base64.urlsafe_b64encode(b"[" * 2000).rstrip(b"=").decode()
    server.token = f"{head}.{deep}.{signature}"
    began = time.perf_counter()
    assert [(await server.get("/me")).status_code for _ in range(20)] == [401] * 20
    assert (time.perf_counter() - began) / 20 < 0.25


async def test_what_only_the_server_says_is_refused_in_every_body(server: Server) -> None:
    document = (await server.get("/openapi.json")).json()
    tried = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            [content] = operation.get("requestBody", {"content": {"": {}}})["content"].items()
            if not content[0].startswith("application/") or "form" in content[0]:
                continue
            real = path.removeprefix("/api/v1").replace("{name}", "web-01").replace("{run}", "greet.x")
            for field in ("version", "created_by", "actor", "state", "prev_hash", "on_behalf_of", "is_admin", "__proto__"):
                answer = await server.send(method.upper(), real, {**content[1].get("example", {}), field: "admin"})
                assert answer.status_code in (404, 409, 422), (method, path, field, answer.text)
                if answer.status_code == 422:
                    tried += any(field in error["field"] for error in answer.json().get("errors", []))
    assert tried > 60, "most are told which field it was"


async def test_a_run_reaches_no_target_that_its_job_does_not_whatever_the_selector_says(server: Server) -> None:
    await made(server, "/credentials", credential())
    await made(server, "/targets", target("web-01", labels={"env": "prod"}))
    await made(server, "/targets", target("db-01", labels={"env": "test"}))
    await made(server, "/jobs", job(targets="env=prod"))
    fresh = {"Ops-Min-Version": "target/web-01@1,target/db-01@1"}
    for selector, reached in (
        ("env=test", []),
        ("env!=prod", []),
        ("env=prod", ["web-01"]),
        ("", ["web-01"]),
        ("zone!=a", ["web-01"]),
    ):
        plan = await server.post("/jobs/greet/runs", {"dry_run": True, "targets": selector}, headers=fresh)
        assert plan.status_code in (200, 422) and (plan.status_code == 422 or plan.json()["targets"] == reached), (
            selector,
            plan.text,
        )
    for value in ("env=prod;env=test", "env=prod || 1=1", "env=*", "env=prod'--", "env=prod OR env=test"):
        plan = await server.post("/jobs/greet/runs", {"dry_run": True, "targets": value}, headers=fresh)
        assert (plan.status_code, plan.json()["targets"]) == (200, []), f"{value}: all of it is the label's value"
    for selector in (
        "env=prod\nenv=test",
        "*",
        "env in (prod,test)",
        "env\u2260prod",
        "\u0435nv=prod",
        "env=prod,,",
        "!",
        "env=" + "x" * 100_000,
    ):
        refused = await server.post("/jobs/greet/runs", {"dry_run": True, "targets": selector}, headers=fresh)
        assert refused.status_code == 422, (selector[:40], refused.text[:300])
        assert refused.json()["errors"][0]["field"] == "targets", selector[:40]


async def test_sql_in_a_sort_a_filter_a_selector_or_words_is_text_or_refused(server: Server) -> None:
    await made(server, "/jobs", job())
    hostile = [
        "' OR 1=1 --",
        "1; DROP TABLE jobs",
        "name) UNION SELECT 1--",
        "%' OR '%'='",
        "\\",
        "pg_sleep(5)",
        "json_extract(x,'$')",
    ]
    for text in hostile:
        began = time.perf_counter()
        for path, field in (
            ("/jobs", "sort"),
            ("/targets", "selector"),
            ("/audit/events", "q"),
            ("/audit/events", "actor"),
            ("/audit/events", "type"),
            ("/runs", "state"),
        ):
            answer = await server.get(path, params={field: text})
            assert answer.status_code in (200, 422), (path, field, text, answer.text)
            assert answer.status_code == 422 or answer.json()["items"] == [], (path, field, text)
        assert time.perf_counter() - began < 3
    for words in ("%", "gre_t", "g%t"):
        found = (await server.get("/audit/events", params={"q": words})).json()
        assert found.get("items", []) == [], f"{words} means itself"
    assert (await server.get("/jobs/greet")).status_code == 200


async def test_no_pattern_makes_a_search_take_long(server: Server) -> None:
    long = "a" * 4000
    for path, field, text in (
        ("/audit/events", "q", "(a+)+$" * 50),
        ("/audit/events", "q", f"{long}!"),
        ("/targets", "selector", f"{'a' * 60}={long}"),
        ("/targets", "selector", ",".join(["env=prod"] * 400)),
        ("/targets", "selector", "=" * 4000),
        ("/targets", "as_of", "9" * 4000),
    ):
        began = time.perf_counter()
        answer = await server.get(path, params={field: text})
        assert answer.status_code in (200, 400, 422), (path, text[:30], answer.status_code)
        assert time.perf_counter() - began < 2, (path, text[:30])


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1]\nb: *a\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "!!python/object/apply:os.system ['true']\n",
        "a: !!python/name:os.system\n",
        "a: 1\na: 2\n",
        "1: x\n",
        "[" * 100_000,
        "a: " + "x" * 1_100_000,
    ],
)
def test_a_job_file_that_would_run_grow_or_mislead_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    with pytest.raises(BadFile):
        read(file)


def test_in_a_job_file_only_true_and_false_are_truth(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("a: no\nb: on\nc: true\nd: 2026-11-24\n")
    assert read(file) == {"a": "no", "b": "on", "c": True, "d": "2026-11-24"}


async def test_bodies_made_to_be_dear_are_refused_before_anybody_is_asked_who_they_are(server: Server) -> None:
    server.token = ""
    bomb: list[tuple[bytes, dict[str, str], set[int]]] = [
        (b"&".join(b"f%d=1" % n for n in range(8000)), FORM, {400, 413}),
        (b"grant_type=password&" + b"username=a&" * 3000 + b"password=x", FORM, {400, 413}),
        (b"x" * 70_000, FORM, {413}),
        (
            b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n" * 1000,
            {"Content-Type": "multipart/form-data; boundary=b"},
            {415},
        ),
        (b"\x1f\x8b\x08" + b"\0" * 1000, {**FORM, "Content-Encoding": "gzip"}, {415}),
        (b"username=%FF%FE&password=x&grant_type=password", FORM, {400}),
    ]
    for body, headers, statuses in bomb:
        began = time.perf_counter()
        answer = await server.http.post("/api/v1/auth/token", content=body, headers=headers)
        assert answer.status_code in statuses, (body[:30], answer.status_code)
        assert time.perf_counter() - began < 0.5, f"no password was hashed for {body[:30]!r}"


def test_a_log_line_that_is_made_up_by_somebody_stays_one_record(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    hostile = 'x"}\n{"level": "error", "event": "all is lost"}\r\n\x1b[2J\u2028end'
    try:
        set_up_logs("info", "api")
        root.handlers[0].setStream(sys.stderr)  # type: ignore[attr-defined]
        logging.getLogger("test").warning("failed for %s", hostile, extra={"agent": hostile})
    finally:
        root.handlers[:], root.level = before
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "\x1b" not in told and "\r" not in told
    record = json.loads(told)
    assert (record["level"], record["agent"]) == ("warning", hostile)


async def test_what_is_open_to_all_names_nobody_and_nothing(server: Server) -> None:
    await made(server, "/credentials", credential("a-credential-of-ours"))
    await made(server, "/targets", target("a-target-of-ours", connection={"credential": "a-credential-of-ours"}))
    await made(server, "/jobs", job("a-job-of-ours"))
    await server.sign_in("somebody-of-ours", "wrong")
    await server.get("/jobs/a-job-of-ours/history")
    server.token = ""
    for path in ("/metrics", "/health", "/health/live", "/health/ready", "/openapi.json", "/.well-known/jwks.json"):
        answer = await server.get(path)
        assert answer.status_code == 200 and "-of-ours" not in answer.text, path
    [key] = (await server.get("/.well-known/jwks.json")).json()["keys"]
    assert "d" not in key, "public parts only"


async def test_a_huge_or_strange_version_never_wins(server: Server) -> None:
    await made(server, "/jobs", job())
    for value, status in (
        ('"99999999999999999999999999"', {400, 412}),
        ('W/"1"', {400}),
        ('"1", "2"', {400}),
        ("1", {400}),
        ('"1" junk', {400}),
        ('"-1"', {400, 412}),
        ('"\u0661"', {400}),
    ):
        headers: Any = {"If-Match": value.encode()}
        answer = await server.send("PUT", "/jobs/greet", job(run="false"), headers=headers)
        assert answer.status_code in status, (value, answer.status_code)
    assert (await server.get("/jobs/greet")).json()["version"] == 1

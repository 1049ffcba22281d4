"""Do answers look as the OpenAPI document says, and does the edge of the contract hold: methods, headers, what is not there?"""

import asyncio
import re
import uuid
from typing import Any

from domain.run.messages import StepEnd, StepStart
from tests.api.conftest import credential, job, made, target
from tests.api.server import Server, claimed_and_planned, reported, scope_of, serving, wrote
from tests.api.test_runs import WEB

_TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}


def misfits(value: Any, schema: dict[str, Any], schemas: dict[str, Any], at: str = "") -> list[str]:
    """Where a value is not as its schema says; stricter than JSON Schema: what the schema does not name must not be there."""
    if "$ref" in schema:
        return misfits(value, schemas[schema["$ref"].rpartition("/")[2]], schemas, at)
    if "anyOf" in schema:
        if value is None:
            return [] if {"type": "null"} in schema["anyOf"] else [at]
        return misfits(value, schema["anyOf"][0], schemas, at)
    kind = schema.get("type")
    if kind is not None and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{at}: no {kind}"]
    found = []
    if isinstance(value, dict) and "properties" in schema:
        known, needed = set(schema["properties"]), set(schema["required"])
        found += [f"{at}.{name}" for name in (set(value) - known) | (needed - set(value))]
        found += [
            bad
            for name in set(value) & known
            for bad in misfits(value[name], schema["properties"][name], schemas, f"{at}.{name}")
        ]
    elif isinstance(value, dict):
        found += [
            bad for name in value for bad in misfits(value[name], schema.get("additionalProperties", {}), schemas, f"{at}.{name}")
        ]
    elif isinstance(value, list):
        found += [bad for item in value for bad in misfits(item, schema.get("items", {}), schemas, f"{at}[]")]
    return found


async def a_fleet_with_a_finished_run(server: Server) -> str:
    await made(server, "/credentials", credential())
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG"
    await made(server, "/targets", target(connection={"host_key": key}))
    parameters = [
        {"name": "days", "type": "integer", "default": 7, "minimum": 1},
        {"name": "t", "type": "secret", "required": False},
    ]
    await made(server, "/jobs", job(parameters=parameters))
    run = (await made(server, "/jobs/greet/runs", {"parameters": {"t": "s3cret"}, "reason": "because"}))["run_id"]
    await claimed_and_planned(server, run, (WEB,))
    await reported(server, run, StepStart("only", "web-01", 1))
    end = await wrote(server, run, "hello\n")
    await reported(server, run, StepEnd("only", "web-01", 1, "succeeded", 0, None, end))
    await server.get("/me", headers={"Ops-Min-Version": f"run/{run}@7,target/web-01@1,credential/deploy-key@1"})
    return run


async def test_every_answer_looks_as_the_document_says(server: Server):
    run = await a_fleet_with_a_finished_run(server)
    await made(server, "/roles", {"name": "web-op", "permissions": ["jobs.read"], "limits": {"jobs": "web-*"}})
    document = (await server.get("/openapi.json")).json()
    event = (await server.get("/audit/events")).json()["items"][0]
    names = {"run": run, "revision": "1", "event": event["id"], "command": event["command_id"]}
    folders = {"targets": "web-01", "credentials": "deploy-key", "jobs": "greet", "users": "admin", "roles": "web-op"}
    looked_at = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation["responses"].get("200", {}).get("content", {}).get("application/json")
            if method != "get" or content is None or path == "/openapi.json" or "/oidc/" in path:  # needs a provider
                continue
            folder = path.removeprefix("/api/v1/").partition("/")[0]
            real = re.sub(r"\{(\w+)\}", lambda m, of=folder: names.get(m[1]) or folders[of], path)
            query = "?permission=jobs.read&object=job/greet" if path.endswith("/explain") else ""
            answer = await server.get(real.removeprefix("/api/v1") + query)
            assert answer.status_code == 200, (real, answer.text)
            assert not misfits(answer.json(), content["schema"], document["components"]["schemas"]), real
            assert not misfits(content["example"], content["schema"], document["components"]["schemas"]), f"the example of {path}"
            looked_at += 1
    assert looked_at >= 22, "the lists, the things, their histories"


async def test_every_write_answers_as_the_document_says(server: Server):
    document = (await server.get("/openapi.json")).json()

    def schema_of(path: str, method: str, status: int) -> dict[str, Any]:
        return document["paths"][f"/api/v1{path}"][method]["responses"][str(status)]["content"]["application/json"]["schema"]

    secret = {"secret": credential()["secret"]}
    for method, path, real, body, status in (
        ("post", "/credentials", "/credentials", credential(), 201),
        ("put", "/credentials/{name}/secret", "/credentials/deploy-key/secret", secret, 200),
        ("post", "/targets", "/targets", target(), 201),
        ("patch", "/targets/{name}", "/targets/web-01", {"title": "x"}, 200),
        ("post", "/targets/{name}/check", "/targets/web-01/check", None, 200),
        ("delete", "/targets/{name}", "/targets/web-01", None, 200),
        ("post", "/jobs", "/jobs", job(), 201),
        ("put", "/jobs/{name}", "/jobs/greet", job(run="true"), 200),
        ("post", "/jobs/{name}/runs", "/jobs/greet/runs", {"dry_run": True}, 200),
        ("post", "/jobs/{name}/runs", "/jobs/greet/runs", {}, 201),
        ("delete", "/jobs/{name}", "/jobs/greet", None, 200),
        ("delete", "/credentials/{name}", "/credentials/deploy-key", None, 200),
        ("post", "/audit/verify", "/audit/verify", None, 200),
        ("post", "/auth/logout", "/auth/logout", None, 200),
    ):
        answer = await server.send(method.upper(), real, body)
        assert answer.status_code == status, (real, answer.text)
        assert not misfits(answer.json(), schema_of(path, method, status), document["components"]["schemas"]), (method, real)


async def test_a_method_that_is_not_there_is_told_which_ones_are(server: Server):
    for path, methods in (
        ("/targets", {"GET", "HEAD", "POST"}),
        ("/targets/web-01", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("/jobs/greet", {"GET", "HEAD", "PUT", "DELETE"}),
        ("/auth/token", {"POST"}),
    ):
        answer = await server.send("OPTIONS", path)
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
        assert set(answer.headers["allow"].split(", ")) == methods


async def test_head_is_answered_as_get_is_and_never_goes_on(server: Server):
    run = await a_fleet_with_a_finished_run(server)
    for path in ("/me", "/targets/web-01", "/health/live", f"/runs/{run}/output?follow=true", "/events/stream"):
        answer = await asyncio.wait_for(server.send("HEAD", path), 60)
        assert answer.status_code == 200 and answer.headers["x-correlation-id"], path
    assert (await server.send("HEAD", "/targets/absent")).status_code == 404
    server.token = ""
    assert (await server.send("HEAD", "/targets")).status_code == 401


async def sent_with(
    server: Server, headers: list[tuple[str, str]], method: str = "PATCH", body: bytes = b'{"title": "x"}'
) -> int:
    scope = scope_of(method, "/api/v1/targets/web-01", {})
    scope["headers"] = [(name.lower().encode(), text.encode()) for name, text in headers]
    answers: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    await server.app(scope, receive, send)
    return answers[0]["status"]


async def test_a_header_that_is_there_twice_is_never_read_by_half(server: Server):
    await made(server, "/credentials", credential())
    await made(server, "/targets", target())
    mine = ("Authorization", f"Bearer {server.token}")
    assert await sent_with(server, [mine, ("If-Match", '"1"'), ("If-Match", '"9"')]) == 400
    assert await sent_with(server, [mine, ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]) == 400
    assert await sent_with(server, [mine, ("Authorization", "Bearer x")]) == 401
    assert await sent_with(server, [mine, ("Ops-Min-Version", "target/web-01@1"), ("Ops-Min-Version", "x")]) == 400
    assert await sent_with(server, [mine, ("Prefer", "wait=1"), ("Prefer", "respond-async; x=1")]) == 202
    twice = [mine, ("Ops-Min-Version", "target/web-01@1"), ("Ops-Min-Version", "credential/deploy-key@1")]
    assert await sent_with(server, twice) == 200


async def test_somebody_elses_command_is_not_told_from_one_that_is_not_there(server: Server):
    await made(server, "/users", {"name": "bob", "password": "a good long password", "roles": ["viewer"]})
    sent = (await server.post("/credentials", credential())).json()["command_id"]
    assert (await server.get(f"/commands/{sent}")).status_code == 200
    assert (await server.sign_in("bob", "a good long password")).status_code == 200
    hidden, absent = await server.get(f"/commands/{sent}"), await server.get(f"/commands/{uuid.uuid4()}")
    told = [{**answer.json(), "correlation_id": "", "instance": ""} for answer in (hidden, absent)]
    assert told[0] == told[1] and told[0]["code"] == "command_not_found"
    assert hidden.headers["retry-after"] == absent.headers["retry-after"] == "1"


async def test_a_command_that_nobody_knows_is_absent_and_one_just_sent_is_not_known_yet(server: Server):
    absent = await server.get(f"/commands/{uuid.uuid4()}")
    assert (absent.status_code, absent.json()["code"], absent.headers["retry-after"]) == (404, "command_not_found", "1")

    async def nothing(*_: Any) -> None:
        return None

    server.log.outcomes.wait = nothing
    server.log.outcomes.find = nothing
    server.log.sender.send = nothing
    pending = await server.post("/jobs", job(), headers={"Prefer": "respond-async"})
    assert (pending.status_code, pending.json()["name"]) == (202, "greet")
    asked = await server.get(pending.headers["location"].removeprefix("/api/v1"))
    assert (asked.status_code, asked.json()) == (200, {"command_id": pending.json()["command_id"], "state": "unknown"})


async def test_a_run_sent_without_waiting_says_which_run_it_is_and_sent_again_is_the_same(server: Server):
    await made(server, "/jobs", job())
    key = {"Idempotency-Key": "k"}
    pending = await server.post("/jobs/greet/runs", {}, headers={**key, "Prefer": "respond-async"})
    assert pending.status_code == 202
    async with asyncio.timeout(60):
        while (again := await server.post("/jobs/greet/runs", {}, headers=key)).status_code != 201:
            await asyncio.sleep(0.02)
    assert again.json()["run_id"] == pending.json()["run_id"]


async def test_what_was_made_a_moment_ago_is_never_absent(server: Server):
    for n in range(10):
        await made(server, "/jobs", job(f"job-{n}"))
        assert (await server.get(f"/jobs/job-{n}")).status_code == 200
        run = (await made(server, f"/jobs/job-{n}/runs", {}))["run_id"]
        assert (await server.get(f"/runs/{run}")).status_code == 200
        assert len((await server.get(f"/runs/{run}/history")).json()["items"]) == 1
        assert (await server.get(f"/jobs/job-{n}/revisions/1")).status_code == 200


async def test_the_order_within_a_stream_may_be_called_time_or_version(server: Server):
    await made(server, "/jobs", job())
    await server.send("DELETE", "/jobs/greet")
    fresh = {"Ops-Min-Version": "job/greet@2"}
    for path in ("/jobs/greet/history?", "/audit/events?stream=job/greet&"):
        for sort, versions in (("time", [1, 2]), ("-time", [2, 1]), ("version", [1, 2]), ("-version", [2, 1])):
            items = (await server.get(f"{path}sort={sort}", headers=fresh)).json()["items"]
            assert [item["version"] for item in items] == versions


async def test_what_a_body_is_answered_that_nobody_asked_for_is_told_of(tmp_path):
    async with serving(tmp_path, receive_s=0.2) as server:
        document = (await server.get("/openapi.json")).json()
        for path in ("/api/v1/me", "/api/v1/targets", "/health/live", "/openapi.json"):
            told = document["paths"][path]["get"]["responses"]
            for chunks, headers, status in (
                ([b"x" * 2_000_000], {}, 413),
                ([], {"Content-Length": "3000000"}, 413),
                ([], {"Content-Length": "10"}, 408),
                ([b"x"], {"Content-Encoding": "gzip"}, 415),
                ([b"x"], {"Content-Length": "1", "Transfer-Encoding": "chunked"}, 400),
            ):
                assert (await server.raw("GET", path, chunks, headers))[0] == status and str(status) in told, (path, status)
            assert "431" in told, "answered before a path is known"

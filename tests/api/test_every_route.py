"""Does every route need a token except those that say why not, and is every one in the contract as it is?"""

import json
import re
from pathlib import Path

from api.routes.all import TABLE
from domain.access import PERMISSIONS, built_in, grants_of, may, permissions_of
from schemas.problems import TABLE as PROBLEMS
from tests.api.server import Server

ROOT = Path(__file__).parents[2]

WITHOUT_A_TOKEN = {
    ("POST", "/api/v1/auth/token"): "it gives the token",
    ("POST", "/api/v1/auth/refresh"): "the refresh token is in the body",
    ("GET", "/api/v1/auth/oidc/start"): "the browser is sent to the identity provider",
    ("GET", "/api/v1/auth/oidc/callback"): "it comes back with a code",
    ("POST", "/api/v1/auth/oidc/tokens"): "the grant is in the body",
    ("GET", "/.well-known/jwks.json"): "public keys are public",
    ("GET", "/health/live"): "asked by whoever starts processes",
    ("GET", "/health/ready"): "asked by load balancers",
    ("GET", "/health"): "says no names",
    ("GET", "/metrics"): "says no names",
    ("GET", "/openapi.json"): "the contract is public",
}


async def test_every_route_needs_a_token_except_those_listed(server: Server):
    server.token = ""
    for route in TABLE:
        path = re.sub(r"\{\w+\}", "x", route.path)
        answer = await server.http.request(route.method, path, content=b"{}")
        if (route.method, route.path) in WITHOUT_A_TOKEN:
            assert answer.headers["content-type"] != "application/problem+json" or answer.json()["code"] != "unauthenticated"
        else:
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), route.path
            assert answer.headers["www-authenticate"] == "Bearer"
    assert {(r.method, r.path) for r in TABLE if r.permission is None} == set(WITHOUT_A_TOKEN)


def test_every_permission_of_a_route_is_in_the_table_and_every_permission_is_of_some_route():
    within = {"credentials.use"}  # asked for by what a target's routes are sent
    assert {route.permission for route in TABLE if route.permission} == set(PERMISSIONS) - within


def test_a_viewer_may_only_read_and_an_administrator_everything():
    viewer = permissions_of([built_in("viewer")])
    assert all(name.endswith(".read") or name == "self.write" for name in viewer) and "credentials.read" not in viewer
    assert set(permissions_of([built_in("administrator")])) == set(PERMISSIONS)
    assert may((), "self.read") and not may((), "targets.read") and not may(grants_of(["nobody"], {}), "targets.read")


async def test_without_the_permission_a_route_is_forbidden(server: Server, monkeypatch):
    monkeypatch.setitem(PERMISSIONS, "targets.read", frozenset({"viewer"}))
    answer = await server.get("/targets")
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert "targets.read" not in (await server.get("/me")).json()["permissions"]


async def test_the_contract_names_every_route_with_its_parameters_and_a_body_that_is_taken(server: Server):
    server.token = ""
    document = (await server.get("/openapi.json")).json()
    assert "/api/v1/targets" in document["paths"]
    for route in TABLE:
        said = document["paths"][route.path][route.method.lower()]
        names = {p["name"] for p in said["parameters"] if p["in"] == "query"}
        assert names == route.query and ("security" in said) == (route.permission is not None), route.path
    assert len({o["operationId"] for path in document["paths"].values() for o in path.values()}) == len(TABLE)
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])


async def test_the_examples_of_the_contract_are_accepted(server: Server):
    from tests.api.conftest import credential, made

    await made(server, "/credentials", credential())
    document = (await server.get("/openapi.json")).json()
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG"
    target = example(document, "/api/v1/targets", "post")
    await made(server, "/targets", {**target, "connection": {**target["connection"], "host_key": key}})
    await made(server, "/jobs", example(document, "/api/v1/jobs", "post"))
    run = await made(server, "/jobs/rotate-logs/runs", example(document, "/api/v1/jobs/{name}/runs", "post"))
    for method, path, real in (
        ("patch", "/api/v1/targets/{name}", "/targets/web-01"),
        ("post", "/api/v1/targets/{name}/check", "/targets/web-01/check"),
        ("put", "/api/v1/jobs/{name}", "/jobs/rotate-logs"),
        ("post", "/api/v1/runs/{run}/cancel", f"/runs/{run['run_id']}/cancel"),
    ):
        answer = await server.send(method.upper(), real, example(document, path, method))
        assert answer.status_code == 200, answer.text


def example(document, path, method):
    [content] = document["paths"][path][method]["requestBody"]["content"].values()
    return content["example"]


def test_every_code_that_is_used_is_a_problem():
    used = set()
    for folder in ("domain", "commands", "api", "schemas"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text()
            used |= set(re.findall(r'(?:Absent|Conflict|Stale|Forbidden|Rejection|Rejected|Problem)\(\s*"(\w+)"', text))
            used |= set(re.findall(r'\bcode="(\w+)"', text))
    assert {"target_exists", "projection_lag", "unstorable_text", "lane_refused", "internal_error"} <= used, "the scan finds them"
    assert used - {"Rejection"} <= set(PROBLEMS), used - set(PROBLEMS)
    assert all(400 <= kind.status < 600 and kind.title for kind in PROBLEMS.values())

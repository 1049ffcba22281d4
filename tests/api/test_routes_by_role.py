"""May each role use each route exactly as the table of permissions says? Every route there is, by every role."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio

from api.routes.all import TABLE
from api.routes.route import Route
from domain.access import PERMISSIONS, ROLES
from tests.api.conftest import made
from tests.api.server import Server, serving

OWN = ("/api/v1/users/{name}/tokens", "/api/v1/users/{name}/permissions")
"""Below these the permission of the route is for one's own account; that of others takes another."""

LIMITED = ("jobs.read", "jobs.write", "runs.read", "runs.start", "runs.cancel", "targets.read", "targets.write", "commands.read")
LIMITS = {"targets": "env=staging", "jobs": "web-*"}


@dataclass
class Somebody:
    """Who asks, with which permissions."""

    name: str
    token: str
    permissions: frozenset[str]


@pytest_asyncio.fixture
async def everybody(tmp_path: Path) -> AsyncIterator[tuple[Server, list[Somebody]]]:
    """A server, and somebody in each built-in role, in none, and in a limited role of one's own."""
    async with serving(tmp_path) as server:
        await made(server, "/roles", {"name": "limited", "permissions": LIMITED, "limits": LIMITS})
        asking = []
        for role in (*ROLES, None, "limited"):
            name = f"u-{role or 'nobody'}"
            body = {"name": name, "roles": [role] if role else [], "password": "correct-horse-battery"}
            await made(server, "/users", body)
            administrator = server.token
            assert (await server.sign_in(name)).status_code == 200
            held = {p for p, holders in PERMISSIONS.items() if role in holders or p.startswith("self.")}
            asking.append(Somebody(name, server.token, frozenset(held | set(LIMITED)) if role == "limited" else frozenset(held)))
            server.token = administrator
        yield server, asking


async def status_of(server: Server, who: Somebody, route: Route) -> int:
    own = {"name": who.name} if route.path.startswith(OWN) else {}
    path = re.sub(r"\{(\w+)\}", lambda part: own.get(part[1], "web-none"), route.path)
    headers, body = {"Authorization": f"Bearer {who.token}"}, None if route.method == "GET" else b"{}"
    method = "HEAD" if route.path == "/api/v1/events/stream" else route.method  # it would never end
    answer = await server.http.request(method, path, headers=headers, content=body)
    return int(answer.status_code)


async def test_every_route_is_permitted_to_exactly_those_roles_that_the_table_says(everybody: tuple[Server, list[Somebody]]):
    server, asking = everybody
    wrong: list[Any] = []
    for route in TABLE:
        if route.permission is None or route.path.endswith(("/auth/logout", "/rebuild")):
            continue  # signing out would end the round; a rebuild is one of the permitted
        assert route.permission in PERMISSIONS, f"{route.method} {route.path} has no entry"
        for who in asking:
            status, permitted = await status_of(server, who, route), route.permission in who.permissions
            if status in (401, 429) or status >= 500 or (status == 403) is permitted:
                wrong.append((route.method, route.path, who.name, status))
    assert wrong == []

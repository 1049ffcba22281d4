"""A small world in two halves, and somebody who may see and run one of them only."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from domain.run.messages import PlannedTarget
from domain.target import SshConnection
from tests.api.conftest import credential, job, made, target
from tests.api.server import Server

PASSWORD = "correct-horse-battery"
OPERATES = (
    "jobs.read", "jobs.write", "runs.read", "runs.start", "runs.cancel", "targets.read", "targets.write", "targets.check",
    "commands.read", "audit.read",
)  # fmt: skip
LIMITS = {"targets": "env=staging", "jobs": "web-*", "credentials": "web-*"}
PLANNED = (
    PlannedTarget("db-01", 1, "10.0.0.6", {"env": "prod"}, SshConnection("deploy-key")),
    PlannedTarget("web-01", 1, "10.0.0.5", {"env": "staging"}, SshConnection("deploy-key")),
)


async def two_halves(server: Server, permissions: tuple[str, ...] = OPERATES, limits: dict[str, Any] = LIMITS) -> str:
    """Targets, jobs and credentials, and alice, who has the role `web-op` and sees the half called web; her token."""
    for name in ("deploy-key", "web-key"):
        await made(server, "/credentials", credential(name))
    await made(server, "/targets", target("web-01", labels={"env": "staging"}))
    await made(server, "/targets", target("db-01", labels={"env": "prod"}))
    for name, selector in (("web-deploy", "env=staging"), ("web-all", "env"), ("db-deploy", "env")):
        await made(server, "/jobs", job(name, targets=selector))
    await made(server, "/roles", {"name": "web-op", "permissions": permissions, "limits": limits})
    return await somebody(server, "alice", "web-op")


async def somebody(server: Server, name: str, *roles: str) -> str:
    """A user with these roles, signed in; the token."""
    await made(server, "/users", {"name": name, "roles": roles, "password": PASSWORD})
    mine = server.token
    assert (await server.sign_in(name, PASSWORD)).status_code == 200
    token, server.token = server.token, mine
    return token


@contextmanager
def acting_as(server: Server, token: str) -> Iterator[None]:
    """Whoever holds the token asks, for a while."""
    before, server.token = server.token, token
    try:
        yield
    finally:
        server.token = before


def told(answer: Any) -> tuple[Any, ...]:
    """Status, code and the fields at fault."""
    body = answer.json()
    return (answer.status_code, body.get("code"), *(error["field"] for error in body.get("errors", ())))


DENIED, ABSENT_TARGET, ABSENT_JOB = (403, "permission_denied"), (404, "target_not_found"), (404, "job_not_found")

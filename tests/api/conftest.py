"""A server for every test that asks for one."""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from api.app import create_app
from infra.oidc.provider import OidcProvider
from tests.api.house import House, rules
from tests.api.server import Server, serving
from tests.support.provider import SECRET, Provider, running_provider


@pytest.fixture(scope="module")
def process() -> Iterator[Provider]:
    with running_provider() as found:
        yield found


@pytest.fixture
def idp(process: Provider) -> Iterator[Provider]:
    yield process
    process.becomes()
    process.twists()


@pytest_asyncio.fixture
async def house(tmp_path: Path, idp: Provider) -> AsyncIterator[House]:
    async with serving(tmp_path) as server:
        provider = OidcProvider(rules(idp), SECRET, lambda: time.monotonic() + found.later_s)
        transport = httpx2.ASGITransport(app=create_app(replace(server.given, provider=provider)))
        async with httpx2.AsyncClient(transport=transport, base_url="https://ops.example.org") as http:
            found = House(server, http, provider, idp)
            yield found
        await provider.close()


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path) as running:
        yield running


def private_key(passphrase: str | None = None) -> str:
    key = ed25519.Ed25519PrivateKey.generate()
    sealed: Any = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, sealed).decode()


def credential(name: str = "deploy-key") -> dict[str, Any]:
    return {"name": name, "kind": "ssh_key", "secret": {"username": "deploy", "private_key": private_key()}}


def target(name: str = "web-01", **more: Any) -> dict[str, Any]:
    connection = {"kind": "ssh", "port": 22, "credential": "deploy-key", **more.pop("connection", {})}
    return {"name": name, "title": "A machine", "host": "10.0.0.5", "labels": {"env": "prod"}, "connection": connection, **more}


def job(name: str = "greet", run: str = "echo hello", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "title": name,
        "targets": "env=prod",
        "steps": [{"name": "only", "kind": "command", "run": run}],
        **more,
    }


async def made(server: Server, path: str, body: dict[str, Any]) -> Any:
    """The answer's body, once it is 201."""
    answer = await server.post(path, body)
    assert answer.status_code == 201, answer.text
    return answer.json()

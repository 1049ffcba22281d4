"""A server with an identity provider beside it, and a browser that goes between the two."""

from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from api.identity_provider import ProviderRules
from api.linking import Known, digest_of
from api.routes import provider_sign_in
from domain.user import decide
from domain.user import messages as domain
from infra.oidc.provider import OidcProvider
from tests.api.server import Server
from tests.support.provider import CLIENT, Provider

ROLES = {"ops": ("operator",), "leads": ("operator", "author"), "root": ("administrator",)}
CALLBACK = "https://ops.example.org/api/v1/auth/oidc/callback"


@dataclass
class House:
    server: Server
    http: httpx2.AsyncClient
    provider: OidcProvider
    idp: Provider
    later_s: float = 0.0
    """How far the time is ahead by which the provider's keys grow old."""

    async def begun(self, query: str = "") -> str:
        """Where the browser is sent by us; it has our cookie then."""
        answer = await self.http.get(f"/api/v1/auth/oidc/start{query}")
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    async def back(self, query: str = "") -> str:
        """Path and query of our own that the provider sends the browser back to."""
        where = self.idp.signs_in(await self.begun(query))
        assert where.startswith(CALLBACK)
        return where.removeprefix("https://ops.example.org")

    async def sign_in(self) -> httpx2.Response:
        return await self.http.get(await self.back())

    async def me(self, token: str) -> Any:
        return (await self.http.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})).json()


def rules(idp: Provider, **other: Any) -> ProviderRules:
    said = {"issuer": idp.url, "client_id": CLIENT, "redirect_uri": CALLBACK, "scope": "openid profile"}
    return ProviderRules(**{**said, "name_claim": "preferred_username", "groups_claim": "groups", "roles": ROLES, **other})


async def linked_in_clear(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Carol signs in as it was when events named the subject in clear."""

    def then(command: Any, state: Any, companion: Any) -> list[Any]:
        linked = [domain.UserLinked(house.idp.url, "c-1"), domain.RoleGranted("operator"), domain.SignedIn(command.session)]
        return [domain.UserCreated("carol", None, "Carol C."), *linked]

    with monkeypatch.context() as before:
        before.setattr(decide, "_sign_in_with_provider", then)
        assert (await house.sign_in()).status_code == 200


async def second_name(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who signed in as carol signs in as caroline, too, as it was when somebody could have two names here."""

    async def unknown(call: Any, issuer: str, who: Any) -> Known:
        return Known("caroline", digest_of(call.given.keys.identities, issuer, who.subject), False)

    def then(command: Any, state: Any, companion: Any) -> list[Any]:
        linked = [domain.IdentityLinked(command.identity, None), domain.RoleGranted("operator"), domain.SignedIn(command.session)]
        return [domain.UserCreated("caroline", None), *linked]

    with monkeypatch.context() as before:
        before.setattr(provider_sign_in, "known_as", unknown)
        before.setattr(decide, "_sign_in_with_provider", then)
        assert (await house.sign_in()).status_code == 200

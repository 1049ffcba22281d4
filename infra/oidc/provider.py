"""How is an OpenID Connect provider asked? Discovery, token endpoint, keys and UserInfo, each bounded in time and size.

What was set up is the issuer alone; everything else comes from its discovery document (OpenID Connect Discovery 1.0), which must
name the same issuer. Only https is spoken, plain http only where the issuer itself is on this machine; redirects are not followed
and the environment names no proxy (HAZARDS R60).
"""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx2

from api.identity_provider import ProviderRefused, ProviderRules, ProviderUnavailable

_WITHIN_S = 10.0
_MAX_ANSWER = 1_048_576
_GOOD_FOR_S = 3_600.0
_LEAST_S = 10.0
"""The keys are not asked for more often than this, however many unknown ones are shown."""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class OidcProvider:
    """One provider; `secret` is None for a public client. `monotonic` is in seconds."""

    def __init__(self, rules: ProviderRules, secret: str | None, monotonic: Callable[[], float]) -> None:
        self._rules, self._secret, self._monotonic = rules, secret, monotonic
        self._http = httpx2.AsyncClient(timeout=_WITHIN_S, trust_env=False, follow_redirects=False)
        self._discovered: tuple[float, Mapping[str, Any]] | None = None
        self._keys: tuple[float, Mapping[str, Mapping[str, Any]]] | None = None

    @property
    def rules(self) -> ProviderRules:
        """What was set up."""
        return self._rules

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def sign_in_url(self, parameters: Mapping[str, str]) -> str:
        """Where a browser signs in."""
        where = str((await self._discovery())["authorization_endpoint"])
        return f"{where}{'&' if urlsplit(where).query else '?'}{urlencode(parameters)}"

    async def trade(self, code: str, verifier: str) -> Mapping[str, Any]:
        """The token endpoint's answer to a code."""
        known, rules = await self._discovery(), self._rules
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": rules.redirect_uri,
            "code_verifier": verifier,
            "client_id": rules.client_id,
        }
        headers = {}
        if self._secret is not None:
            # RFC 6749 §2.3.1: both are form-encoded before they are put together.
            if "client_secret_basic" in known.get("token_endpoint_auth_methods_supported", ["client_secret_basic"]):
                given = f"{quote_plus(rules.client_id)}:{quote_plus(self._secret)}"
                headers["Authorization"] = f"Basic {base64.b64encode(given.encode()).decode()}"
            else:
                form["client_secret"] = self._secret
        return await self._answer("POST", str(known["token_endpoint"]), headers, urlencode(form).encode())

    async def keys(self, fresh: bool) -> Mapping[str, Mapping[str, Any]]:
        """The public keys by `kid`."""
        now, kept = self._monotonic(), self._keys
        if kept is None or now - kept[0] > (_LEAST_S if fresh else _GOOD_FOR_S):
            answer = await self._answer("GET", str((await self._discovery())["jwks_uri"]), {})
            listed = answer.get("keys")
            found = [key for key in listed if isinstance(key, dict)] if isinstance(listed, list) else []
            kept = self._keys = (now, {str(key.get("kid", "")): key for key in found})
        return kept[1]

    async def user_info(self, access_token: str) -> Mapping[str, Any]:
        """What the UserInfo endpoint says; nothing where there is none."""
        where = (await self._discovery()).get("userinfo_endpoint")
        if where is None:
            return {}
        return await self._answer("GET", str(where), {"Authorization": f"Bearer {access_token}"})

    async def _discovery(self) -> Mapping[str, Any]:
        now = self._monotonic()
        if self._discovered is None or now - self._discovered[0] > _GOOD_FOR_S:
            where = f"{self._rules.issuer.rstrip('/')}/.well-known/openid-configuration"
            found = await self._answer("GET", where, {})
            if found.get("issuer") != self._rules.issuer:
                raise ProviderUnavailable("the discovery document names another issuer")
            for name in _ENDPOINTS:
                self._check_url(name, found.get(name))
            if "userinfo_endpoint" in found:
                self._check_url("userinfo_endpoint", found["userinfo_endpoint"])
            if "S256" not in found.get("code_challenge_methods_supported", ["S256"]):
                raise ProviderUnavailable("the provider does not take an S256 challenge")
            self._discovered = (now, found)
        return self._discovered[1]

    async def _answer(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Mapping[str, Any]:
        self._check_url("address", url)
        sent = {"Accept": "application/json", **headers}
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            async with asyncio.timeout(_WITHIN_S), self._http.stream(method, url, headers=sent, content=body) as response:
                raw = bytearray()
                async for piece in response.aiter_bytes():
                    raw += piece
                    if len(raw) > _MAX_ANSWER:
                        raise ProviderUnavailable("an answer is too large")
        except (TimeoutError, httpx2.HTTPError) as error:
            raise ProviderUnavailable(f"{urlsplit(url).hostname}: {type(error).__name__}") from None
        said = _parsed(bytes(raw))
        if response.status_code in (400, 401, 403):
            raise ProviderRefused(f"{response.status_code} {str(said.get('error', ''))[:80]!r}")
        if response.status_code != 200 or not said:
            raise ProviderUnavailable(f"{urlsplit(url).path} answered {response.status_code}")
        return said

    def _check_url(self, name: str, url: object) -> None:
        if not may_be_asked(url, self._rules.issuer):
            raise ProviderUnavailable(f"the {name} is no https address")


def may_be_asked(url: object, issuer: str) -> bool:
    """Whether a provider's address is one that we ask: one elsewhere does not lead us to this machine's ports in the clear."""
    return isinstance(url, str) and (urlsplit(url).scheme == "https" or (_is_here(url) and _is_here(issuer)))


def _parsed(raw: bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _is_here(url: str) -> bool:
    """Whether it is plain http on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in _LOOPBACK

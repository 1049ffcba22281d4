"""How are secrets kept in HashiCorp Vault (or OpenBao)? In its KV engine, version 2, over HTTP: one entry a secret.

Vault encrypts what it keeps, so there is no master key of ours. An entry holds the secret and what it is for; it is written only
where there is none (check and set), and destroyed with all its versions and metadata. Every call has a deadline, answers are
bounded, redirects are not followed, and the environment names no proxy (HAZARDS R60).
"""

import asyncio
import base64
import binascii
import hmac
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
import orjson

from schemas.vault import SecretUnavailable, VaultError

_WITHIN_S = 10.0
_AT_ONCE = 8
_MAX_ANSWER = 1_048_576
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class BadVaultAddress(Exception):
    """The vault cannot be used as it is set up; the message says why."""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class KvSettings:
    """Where the vault is and who we are there: a token, or an AppRole's two ids. Has no repr."""

    url: str
    mount: str = "secret"
    folder: str = "opsconductor"
    namespace: str = ""
    token: str = ""
    role_id: str = ""
    secret_id: str = ""

    def check(self) -> None:
        """Raise `BadVaultAddress` when this cannot be meant."""
        parts = urlsplit(self.url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise BadVaultAddress("the vault's URL must begin with https:// (http:// only on this machine)")
        if parts.username or parts.query or parts.fragment or not parts.hostname:
            raise BadVaultAddress("the vault's URL names a host and a port, nothing else")
        if bool(self.token) == bool(self.role_id and self.secret_id):
            raise BadVaultAddress("give a token, or role id and secret id of an AppRole")


class KvVault:
    """A vault behind a URL. Every call ends within ten seconds, with `VaultError` when it does not answer as it should."""

    def __init__(self, settings: KvSettings) -> None:
        settings.check()
        self._settings, self._token = settings, settings.token
        self._http = httpx2.AsyncClient(
            base_url=settings.url.rstrip("/"), timeout=_WITHIN_S, trust_env=False, follow_redirects=False
        )
        self._signing_in = asyncio.Lock()

    async def seal(self, secret_id: str, bound_to: str, secret: bytes) -> None:
        """Keep `secret` under `secret_id`; when there is one under this id already, it stays."""
        data = {"bound_to": bound_to, "secret": base64.b64encode(secret).decode()}
        status, said = await self._ask("POST", self._path("data", secret_id), {"options": {"cas": 0}, "data": data})
        if status in (200, 204) or (status == 400 and "check-and-set" in str(said.get("errors"))):
            return
        raise VaultError(f"the vault answered {status}")

    async def open(self, secret_id: str, bound_to: str) -> bytes:
        """The secret in clear. Raises `SecretUnavailable`."""
        status, said = await self._ask("GET", self._path("data", secret_id))
        if status == 404:
            raise SecretUnavailable(f"there is no secret {secret_id}")
        if status != 200:
            raise VaultError(f"the vault answered {status}")
        match said:
            case {"data": {"data": {"bound_to": str(bound), "secret": str(secret)}}}:
                if not hmac.compare_digest(bound.encode(), bound_to.encode()):
                    raise SecretUnavailable(f"secret {secret_id} does not open for {bound_to}")
                try:
                    return base64.b64decode(secret, validate=True)
                except (binascii.Error, ValueError):
                    pass
        raise SecretUnavailable(f"secret {secret_id} is not as it was kept")

    async def open_many(self, wanted: Mapping[str, str]) -> dict[str, bytes]:
        """Several secrets in clear, a few asked for at a time; what does not open is left out."""
        found: dict[str, bytes] = {}
        left = iter(wanted.items())

        async def opening() -> None:
            for ident, bound_to in left:  # shared: each takes the next
                with suppress(SecretUnavailable):
                    found[ident] = await self.open(ident, bound_to)

        try:
            async with asyncio.timeout(_WITHIN_S), asyncio.TaskGroup() as group:
                for _ in range(min(_AT_ONCE, len(wanted))):
                    group.create_task(opening())
        except* VaultError as errors:
            raise VaultError(str(errors.exceptions[0])) from None
        except* TimeoutError:
            raise VaultError("TimeoutError") from None
        return found

    async def destroy(self, secret_id: str) -> None:
        """Forget a secret with all its versions; nothing happens when there is none."""
        status, _ = await self._ask("DELETE", self._path("metadata", secret_id))
        if status not in (200, 204, 404):
            raise VaultError(f"the vault answered {status}")

    async def shred(self, secret_ids: Collection[str]) -> None:
        """Destroy secrets. What the vault's own storage and backups keep of them is the vault's to say."""
        for secret_id in secret_ids:
            await self.destroy(secret_id)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    def _path(self, kind: str, secret_id: str) -> str:
        folder = quote(self._settings.folder.strip("/"))
        return f"/v1/{quote(self._settings.mount.strip('/'))}/{kind}/{folder}/{quote(secret_id, safe='')}"

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Mapping[str, Any]]:
        """Status and body; signs in when need be, and once more when the vault does not know the token any more."""
        try:
            async with asyncio.timeout(_WITHIN_S):
                token = self._token or await self._sign_in("")
                status, said = await self._send(method, path, body, token)
                if status == 403 and not self._settings.token:
                    status, said = await self._send(method, path, body, await self._sign_in(token))
                return status, said
        except (TimeoutError, httpx2.HTTPError) as error:
            raise VaultError(type(error).__name__) from None  # its message may name what was sent

    async def _sign_in(self, refused: str) -> str:
        """A token for the AppRole; another one than `refused`."""
        async with self._signing_in:
            if self._token and self._token != refused:
                return self._token
            ids = {"role_id": self._settings.role_id, "secret_id": self._settings.secret_id}
            status, said = await self._send("POST", "/v1/auth/approle/login", ids, "")
            match said:
                case {"auth": {"client_token": str(token)}} if status == 200:
                    self._token = token
                    return token
            raise VaultError(f"the vault does not let us in: {status}")

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None, token: str) -> tuple[int, Mapping[str, Any]]:
        headers = {"X-Vault-Request": "true"}
        if token:
            headers["X-Vault-Token"] = token
        if self._settings.namespace:
            headers["X-Vault-Namespace"] = self._settings.namespace
        content = orjson.dumps(body) if body is not None else None
        async with self._http.stream(method, path, headers=headers, content=content) as response:
            raw = bytearray()
            async for piece in response.aiter_bytes():
                raw += piece
                if len(raw) > _MAX_ANSWER:
                    raise VaultError("an answer of the vault is too large")
        try:
            said = orjson.loads(raw) if raw else {}
        except orjson.JSONDecodeError:
            raise VaultError(f"the vault answered {response.status_code} and no JSON") from None
        return response.status_code, said if isinstance(said, dict) else {}

"""How does the command line talk to the server? Over the REST contract only."""

import json
import os
import ssl
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from contextlib import closing
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2

from infra.cli import session as sessions
from infra.cli.session import Session

_T = TypeVar("_T")
OPENED, ALIVE = "opened", "alive"
"""What `events` tells of the stream itself: that the server opened it, and that it is still there."""
SILENT_S = 60.0
"""So long a stream may bring nothing, not even that it is still there, before it is broken."""


class ServerRefused(Exception):
    """The server answered with a problem; `problem` is its body."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("detail") or problem.get("title") or f"status {status}")
        self.status, self.problem = status, problem


class ServerUnreachable(Exception):
    """No answer came."""


class Misconfigured(Exception):
    """A setting of the client is wrong; the message names it."""


class NotSendable(Exception):
    """What was given is no text or number that can be sent."""


class Client:
    """A signed-in client; signs in anew with the refresh token when the access token has expired."""

    def __init__(self, session: Session) -> None:
        self._session, self._renewing = session, Lock()
        self._http = httpx2.Client(base_url=session.url.rstrip("/"), timeout=60, trust_env=False, verify=_trust(session.url))

    def login(self, user: str, password: str) -> None:
        """Sign in and keep the session."""
        form = {"grant_type": "password", "username": user, "password": password}
        self._keep(self._answer("POST", "/api/v1/auth/token", data=form))

    def login_with_grant(self, grant: str, verifier: str) -> None:
        """Sign in with what a sign-in in the browser ended with, and keep the session."""
        self._keep(self._answer("POST", "/api/v1/auth/oidc/tokens", json={"grant": grant, "verifier": verifier}))

    def logout(self) -> None:
        """End the session, which may be over already, and forget it here."""
        try:
            self._send("POST", "/auth/logout", json={})
        except ServerRefused as refused:
            if refused.status != 401 or self._session.access_token is None:
                raise
        sessions.forget()

    def get(self, path: str, **query: Any) -> Any:
        """The answer's body; query parameters that are None are left out."""
        return self._send("GET", path, params={k: v for k, v in query.items() if v is not None})

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """Send a write and give its answer's body."""
        return self._send(method, path, json=body, headers=headers)

    def items(self, path: str, limit: int | None = None, **query: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list, page by page, at most `limit`."""
        cursor, left = None, limit
        while True:
            size = 200 if left is None else min(left, 200)
            page = self.get(path, **query, limit=size, cursor=cursor)
            yield from page["items"]
            cursor = page["next_cursor"]
            if left is not None:
                left -= len(page["items"])
            if cursor is None or left == 0:
                return

    def events(self, path: str, headers: dict[str, str] | None = None) -> Iterator[tuple[str, str | None, Any]]:
        """Server-sent events as (event, id, data), `OPENED` and `ALIVE` without either; ends when the stream does."""
        try:
            with closing(self._renewed(lambda: self._stream(path, headers))) as response:
                yield OPENED, None, None
                yield from _parse_events(response.iter_lines())
        except httpx2.TransportError as error:
            raise self._unreachable(error) from None

    def _stream(self, path: str, headers: dict[str, str] | None) -> httpx2.Response:
        timeout = httpx2.Timeout(60, read=SILENT_S)
        request = self._http.build_request("GET", f"/api/v1{path}", headers=self._headers(headers), timeout=timeout)
        response = self._http.send(request, stream=True)
        if response.status_code != 200:
            with closing(response):
                response.read()
            raise ServerRefused(response.status_code, _body(response))
        return response

    def _send(self, method: str, path: str, **more: Any) -> Any:
        return self._renewed(lambda: self._answer(method, f"/api/v1{path}", **more))

    def _renewed(self, ask: Callable[[], _T]) -> _T:
        """What `ask` gives, with a new access token if this one is refused; one that was merely found may be old, too."""
        for _ in range(2):
            token = self._session.access_token
            try:
                return ask()
            except ServerRefused as refused:
                if refused.status != 401 or not self._session.refresh_token:
                    raise
            self._renew(token)
        return ask()

    def _renew(self, refused: str | None) -> None:
        """Have another access token than the `refused` one.

        A refresh token is good once, and shown twice it ends the session: another thread, or another command of the same
        session, may have traded it already.
        """
        with self._renewing:
            if self._session.access_token != refused:
                return
            kept = sessions.load(self._session.url)
            if kept.refresh_token and kept.access_token != refused and _session_of(kept.access_token) == _session_of(refused):
                self._session = kept
                return
            self._keep(self._answer("POST", "/api/v1/auth/refresh", json={"refresh_token": self._session.refresh_token}))

    def _answer(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> Any:
        try:
            request = self._http.build_request(method, path, headers=self._headers(headers), **more)
        except (UnicodeError, ValueError):  # an argument in another encoding than UTF-8
            raise NotSendable("what was given is not all text in UTF-8, or a number that JSON has") from None
        try:
            response = self._http.send(request)
        except httpx2.TransportError as error:
            raise self._unreachable(error) from None
        if response.status_code >= 400:
            raise ServerRefused(response.status_code, _body(response))
        return _body(response)

    def _unreachable(self, error: httpx2.TransportError) -> ServerUnreachable:
        """Why there is no answer. What could not even be sent is not repeated: a token may be in it."""
        why = "the request cannot be sent" if isinstance(error, httpx2.LocalProtocolError) else error
        return ServerUnreachable(f"{self._session.url}: {why}")

    def _headers(self, more: dict[str, str] | None) -> dict[str, str]:
        token = self._session.access_token
        return {**({"Authorization": f"Bearer {token}"} if token else {}), **(more or {})}

    def _keep(self, tokens: dict[str, Any]) -> None:
        self._session.access_token = tokens["access_token"]
        self._session.refresh_token = tokens.get("refresh_token")
        sessions.save(self._session)


def _trust(url: str) -> ssl.SSLContext:
    """Whose certificates are believed: those that the machine trusts, or that `OPSCONDUCTOR_CA_FILE` holds. Never any."""
    if not url.lower().startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nobody's: none is shown, and to load those trusted takes a while
    given = os.environ.get("OPSCONDUCTOR_CA_FILE")
    try:
        return ssl.create_default_context(cafile=given or None)
    except OSError as error:
        raise Misconfigured(f"OPSCONDUCTOR_CA_FILE: {error.strerror or 'cannot be read'}") from None  # its name is not shown


def is_server(url: str) -> bool:
    """Whether this can be a server's address: `http://host:port` or `https://…`, without what could be secret: it is shown."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not set(url) & set("@?#")
        return bool(known) and url.isprintable() and " " not in url and bool(httpx2.URL(url).host)
    except (ValueError, httpx2.InvalidURL):
        return False


def _body(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return {"title": response.reason_phrase, "detail": f"{response.status_code} {response.reason_phrase}"}


def _session_of(token: str | None) -> str | None:
    """The id of the session that an access token says it is of; None where it says nothing that we can read."""
    try:
        claims = (token or "").split(".")[1]
        return str(json.loads(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sid"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _parse_events(lines: Iterator[str]) -> Iterator[tuple[str, str | None, Any]]:
    event, data = "message", list[str]()
    ident: str | None = None
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line.startswith(":"):
            yield ALIVE, None, None
        elif not line:
            if data:
                yield event, ident, json.loads("\n".join(data))
            event, data = "message", []
        elif field == "event":
            event = value
        elif field == "id":
            ident = value
        elif field == "data":
            data.append(value)


def is_in_the_clear(url: str) -> bool:
    """Whether what is sent there leaves this machine unencrypted."""
    parts = httpx2.URL(url)
    return parts.scheme != "https" and parts.host not in ("localhost", "::1") and not parts.host.startswith("127.")

"""Who writes and reads? A few clients at a bounded rate, each one after the other, over REST; all is written down.

They share few names, so that they meet: versions conflict, names are taken, what is changed was retired just now. Every command
has a key of its own; what is not known is sent again under that key or asked for, some of what is known as well.
"""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any
from uuid import UUID, uuid4

import httpx2

from domain.rejection import FieldError
from schemas.actor import Actor
from schemas.command_envelope import people_command_id
from schemas.outcome import Rejected
from tests.jepsen.history import History, Read, Said, Try, Write

ACTOR = Actor("user", "admin")
CREDENTIAL = "base"
"""Which all targets log in with."""

TIMEOUT_S = 10.0
TRIES = 4
PATHS = {"target": "/targets", "job": "/jobs", "credential": "/credentials"}
_NEVER_SENT = {"log_unavailable", "overloaded", "shutting_down"}
_FORESEEN = {
    *_NEVER_SENT, "projection_lag", "rate_limited", "read_models_unavailable", "result_unknown", "sessions_unavailable",
    "vault_unavailable",
}  # fmt: skip
"""What a 503 or 429 may say while things go wrong."""


class Names:
    """The names in use, by kind; a name that was retired is replaced by a new one, since it stays taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: Counter[str] = Counter()
        self._used = {
            "target": self._fresh("target", 10),
            "job": self._fresh("job", 4),
            "credential": self._fresh("credential", 3),
        }
        self.known: set[str] = set()

    def _fresh(self, kind: str, count: int) -> list[str]:
        first, self._made[kind] = self._made[kind], self._made[kind] + count
        return [f"{kind}-{number}" for number in range(first, first + count)]

    def one(self, dice: Random, kind: str) -> str:
        """One of the names in use."""
        with self._lock:
            return dice.choice(self._used[kind])

    def replace(self, kind: str, name: str) -> None:
        """The name is used up."""
        with self._lock:
            if name in self._used[kind]:
                self._used[kind].remove(name)
                self._used[kind] += self._fresh(kind, 1)


class Connection:
    """One HTTP connection, signed in when need be: `sign_ins` is told of the correlation id of each time."""

    def __init__(self, url: str, password: str, sign_ins: list[str]) -> None:
        self._password, self._sign_ins = password, sign_ins
        self._http = httpx2.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False)
        self._token = ""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        """One request under `/api/v1`; header names with `_` for `-`. Raises `httpx2.ConnectError` when nothing was sent."""
        while True:
            if not self._token:
                self._sign_in()
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            answer = self._http.request(
                method, f"/api/v1{path}", json=body, headers={**named, "Authorization": f"Bearer {self._token}"}
            )
            if answer.status_code != 401:
                return answer
            self._token = ""

    def _sign_in(self) -> None:
        form = {"grant_type": "password", "username": ACTOR.name, "password": self._password}
        self._sign_ins.append(correlation := uuid4().hex)
        try:
            answer = self._http.post("/api/v1/auth/token", data=form, headers={"X-Correlation-Id": correlation})
        except httpx2.TransportError as error:
            raise httpx2.ConnectError(f"signing in: {error!r}") from error
        if answer.status_code != 200:
            raise httpx2.ConnectError(f"signing in: {answer.status_code}")
        self._token = answer.json()["access_token"]

    def close(self) -> None:
        """Let go of it."""
        self._http.close()


@dataclass
class Client:
    """One client; `run` goes on until `stop` is set."""

    number: int
    connection: Connection
    names: Names
    history: History
    dice: Random
    most_pause_s: float = 0.15
    seen: dict[str, int] = field(default_factory=dict)

    def run(self, stop: threading.Event) -> None:
        """Write and read, one thing after the other."""
        while not stop.wait(self.dice.uniform(0.01, self.most_pause_s)):
            kind = self.dice.choices(list(PATHS), (70, 20, 10))[0]
            stream = f"{kind}/{self.names.one(self.dice, kind)}"
            if stream in self.names.known and self.dice.random() < 0.35:
                self.read(stream)
            else:
                self.write(stream)

    # --- reads --------------------------------------------------------------------------------------------------------

    def read(self, stream: str, at_least: int | None = None) -> Read | None:
        """Read it once; half the time at least as new as what this client has seen."""
        kind, _, name = stream.partition("/")
        if at_least is None and self.seen.get(stream) and self.dice.random() < 0.5:
            at_least = self.seen[stream]
        headers = {"Ops_Min_Version": f"{stream}@{at_least}"} if at_least else {}
        began = time.monotonic()
        try:
            answer = self.connection.ask("GET", f"{PATHS[kind]}/{name}", **headers)
        except httpx2.TransportError:
            self.history.refused_reads += 1
            return None
        self._unforeseen(answer, "GET", stream)
        if answer.status_code not in (200, 404):
            self.history.refused_reads += 1
            return None
        body = answer.json() if answer.status_code == 200 else {}
        done = Read(
            client=self.number, stream=stream, began=began, ended=time.monotonic(),
            version=body.get("version", 0), body=body, at_least=at_least,
        )  # fmt: skip
        self.history.reads.append(done)
        self.seen[stream] = max(done.version, self.seen.get(stream, 0))
        return done

    # --- writes -------------------------------------------------------------------------------------------------------

    def write(self, stream: str) -> None:
        """One command, tried until it is known what became of it or patience ends; now and then once more."""
        method, path, body, expected, kind = self._drawn(stream)
        key = str(UUID(int=self.dice.getrandbits(128)))
        command_id = people_command_id(ACTOR, stream, key)
        write = Write(client=self.number, stream=stream, command_id=command_id, kind=kind, expected=expected)
        headers = {"Idempotency_Key": key}
        if expected is not None:
            headers["If_Match"] = f'"{expected}"'
        if self.dice.random() < 0.03:
            headers["Prefer"] = "respond-async"
        write.tries.append(self._sent(write, method, path, body, headers))
        self.history.writes.append(write)
        headers.pop("Prefer", None)
        while not write.definite and len(write.tries) < TRIES:
            time.sleep(self.dice.uniform(0.05, 0.6))
            ask = self.dice.random() < 0.4
            write.tries.append(self.asked(write) if ask else self._sent(write, method, path, body, headers))
        if write.definite and self.dice.random() < 0.1:
            write.tries.append(self._sent(write, method, path, body, headers))
        self._learn(write)

    def _drawn(self, stream: str) -> tuple[str, str, Any, int | None, str]:
        """Method, path, body, expected version and what it is."""
        kind, _, name = stream.partition("/")
        path = f"{PATHS[kind]}/{name}"
        if stream not in self.names.known or self.dice.random() < 0.03:
            return "POST", PATHS[kind], self._new(kind, name), None, f"create {kind}"
        expected = self.seen.get(stream) if self.dice.random() < 0.6 else None
        if self.dice.random() < 0.05 or kind == "credential":
            return "DELETE", path, None, expected, f"end {kind}"
        if kind == "job":
            return "PUT", path, self._job(), expected, "revise job"
        body = {"title": self._text(), "labels": {self.dice.choice("abc"): self._text()}}
        return "PATCH", path, body, expected, "change target"

    def _text(self) -> str:
        return f"{self.number}-{self.dice.getrandbits(40):x}"

    def _new(self, kind: str, name: str) -> dict[str, Any]:
        if kind == "target":
            return {
                "name": name,
                "host": "192.0.2.1",
                "title": self._text(),
                "connection": {"kind": "ssh", "credential": CREDENTIAL},
            }
        if kind == "job":
            return {"name": name, **self._job()}
        return {"name": name, "kind": "token", "title": self._text(), "secret": {"token": "nothing"}}

    def _job(self) -> dict[str, Any]:
        return {"title": self._text(), "targets": "a", "steps": [{"name": "only", "kind": "command", "run": "true"}]}

    def _sent(self, write: Write, method: str, path: str, body: Any, headers: dict[str, str]) -> Try:
        began, correlation = time.monotonic(), uuid4().hex
        try:
            answer = self.connection.ask(method, path, body, **headers, X_Correlation_Id=correlation)
        except httpx2.TransportError as error:
            said = Said.NOTHING_WRITTEN if isinstance(error, httpx2.ConnectError) else Said.UNKNOWN
            return Try(began=began, ended=time.monotonic(), said=said, how=type(error).__name__, correlation=correlation)
        self._unforeseen(answer, method, write.stream)
        return replace(told(answer, write, began), correlation=correlation)

    def asked(self, write: Write) -> Try:
        """What the server says became of it; while it may still come, what it does not know is unknown."""
        began = time.monotonic()
        try:
            answer = self.connection.ask("GET", f"/commands/{write.command_id}")
        except httpx2.TransportError as error:
            return Try(began=began, ended=time.monotonic(), said=Said.UNKNOWN, how=type(error).__name__, asked=True)
        self._unforeseen(answer, "GET", f"commands/{write.command_id}")
        said, how, version, rejected = Said.UNKNOWN, f"asked: {answer.status_code}", None, None
        if answer.status_code == 200:
            body = answer.json()
            how = f"asked: {body['state']}"
            if body["state"] == "accepted":
                said, version = Said.OK, body["version"]
            elif body["state"] == "rejected":
                said, rejected = Said.REJECTED, _rejected(body)
        return Try(
            began=began, ended=time.monotonic(), said=said, how=how, version=version, rejected=rejected, asked=True
        )  # fmt: skip

    def _learn(self, write: Write) -> None:
        kind, _, name = write.stream.partition("/")
        if write.said is not Said.OK:
            if any(one.rejected and one.rejected.code.endswith("_exists") for one in write.definite):
                self.names.known.add(write.stream)
            return
        version = write.definite[0].version or 0
        self.seen[write.stream] = max(version, self.seen.get(write.stream, 0))
        self.names.known.add(write.stream)
        if write.kind.startswith("end "):
            self.names.replace(kind, name)

    def _unforeseen(self, answer: httpx2.Response, method: str, what: str) -> None:
        if not foreseen(answer, method):
            self.history.unforeseen.append(f"{method} {what} was answered {answer.status_code}: {answer.text[:300]}")


def foreseen(answer: httpx2.Response, method: str) -> bool:
    """Whether a server may answer so: done, refused for a reason of the command's, not found, or not able to just now."""
    if answer.status_code in (429, 503):
        return "json" in answer.headers.get("content-type", "") and answer.json().get("code") in _FORESEEN
    if method == "GET":
        return answer.status_code in (200, 404)
    return answer.status_code in (200, 201, 202, 404, 409, 412)


def told(answer: httpx2.Response, write: Write, began: float) -> Try:
    """What an answer to a write says of its command."""
    said, version, rejected = Said.UNKNOWN, None, None
    body = answer.json() if "json" in answer.headers.get("content-type", "") else {}
    how = f"{answer.status_code} {body.get('code', '')}".strip()
    if answer.status_code in (200, 201):
        said, version = Said.OK, body["version"]
        assert (body["stream"], body["command_id"]) == (write.stream, str(write.command_id)), body
    elif 400 <= answer.status_code < 500 and answer.status_code not in (401, 408, 429):
        said, rejected = Said.REJECTED, _rejected(body)
    elif body.get("code") in _NEVER_SENT:
        said = Said.NOTHING_WRITTEN
    return Try(began=began, ended=time.monotonic(), said=said, how=how, version=version, rejected=rejected)


def _rejected(body: dict[str, Any]) -> Rejected:
    errors = tuple(FieldError(e["field"], e["message"]) for e in body.get("errors", ()))
    return Rejected(body["code"], body["detail"], errors)

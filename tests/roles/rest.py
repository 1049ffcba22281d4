"""How do these tests talk to a server? Over the REST contract, and not put off by a server that is killed meanwhile."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx2

MOST_NAMED = 200
"""Of so many writes at most, the newest, a read takes account; whoever writes more waits until all read models are there."""


class NotSignedIn(AssertionError):
    """Signing in was not answered with tokens."""


@dataclass(frozen=True)
class Acknowledged:
    """A write that was answered with 200 or 201: from then on it may not be lost."""

    stream: str
    version: int
    command_id: str
    body: dict[str, Any]


@dataclass
class Rest:
    """Signs in when need be. `patience_s` bounds how long an acknowledgement is tried for."""

    url: str
    password: str
    patience_s: float = 120.0
    acknowledged: list[Acknowledged] = field(default_factory=list)
    sign_ins: list[str] = field(default_factory=list)
    """The correlation ids of those that were asked for."""

    def __post_init__(self) -> None:
        self._http = httpx2.Client(base_url=self.url, timeout=30, trust_env=False)
        self._token = ""
        self._shown: dict[str, int] = {}
        """Of how many acknowledged writes an answer took account, by path."""

    def sign_in(self) -> dict[str, Any]:
        form = {"grant_type": "password", "username": "admin", "password": self.password}
        self.sign_ins.append(correlation := uuid.uuid4().hex)
        answer = self._http.post("/api/v1/auth/token", data=form, headers={"X-Correlation-Id": correlation})
        if answer.status_code != 200:
            raise NotSignedIn(f"{answer.status_code} {answer.text}")
        self._token = answer.json()["access_token"]
        return answer.json()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        """One request under `/api/v1`, whatever its answer; header names with `_` for `-`."""
        if not self._token:
            self.sign_in()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._http.request(
            method, f"/api/v1{path}", json=body, headers={**named, "Authorization": f"Bearer {self._token}"}
        )

    def get(self, path: str) -> Any:
        """The answer once it takes account of whatever this client was acknowledged: read models follow the log."""
        written, until = len(self.acknowledged), time.monotonic() + self.patience_s
        versions = {done.stream: done.version for done in self.acknowledged[self._shown.get(path, 0) :][-MOST_NAMED:]}
        headers = {}
        if versions:
            headers["Ops_Min_Version"] = ",".join(f"{stream}@{version}" for stream, version in versions.items())
        while (answer := self.ask("GET", path, **headers)).status_code == 503 and time.monotonic() < until:
            if answer.json()["code"] != "projection_lag":
                break
        assert answer.status_code == 200, f"GET {path}: {answer.status_code} {answer.text}"
        self._shown[path] = written
        return answer.json()

    def items(self, path: str) -> list[dict[str, Any]]:
        """Every item of a list."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            mark = "&" if "?" in path else "?"
            page = self.get(f"{path}{mark}limit=1000{cursor}")
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    def write(self, method: str, path: str, body: Any = None, **headers: str) -> Acknowledged:
        """Send a write under one Idempotency-Key until it is acknowledged; what is refused for good is an error."""
        key = str(uuid.uuid4())
        until = time.monotonic() + self.patience_s
        while True:
            told = ""
            try:
                answer = self.ask(method, path, body, **{"Idempotency_Key": key, **headers})
                told = f"{answer.status_code} {answer.text}"
                if answer.status_code in (200, 201):
                    said = answer.json()
                    done = Acknowledged(said["stream"], said["version"], said["command_id"], said)
                    self.acknowledged.append(done)
                    return done
                if answer.status_code == 401:
                    self._token = ""
                elif answer.status_code not in (202, 408, 429, 500, 502, 503, 504):
                    raise AssertionError(f"{method} {path}: {told}")
            except (httpx2.TransportError, NotSignedIn) as error:
                told = repr(error)
            if time.monotonic() > until:
                raise AssertionError(f"{method} {path}: not acknowledged within {self.patience_s:g} s, last {told}")
            time.sleep(0.2)

    def close(self) -> None:
        self._http.close()

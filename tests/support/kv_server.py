"""A stand-in for HashiCorp Vault: KV version 2 and AppRole over HTTP as its documentation says, in a process of its own.

Versions, check and set, soft deletes, destroyed metadata, 403 for a wrong token, 404, 503 while sealed, namespaces. The tests
steer it by `/steer`: `sealed`, `slow_s`, `redirect`, `large`, `expire_tokens`, and read what it saw by `/seen`.
"""

import json
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN, ROLE_ID, SECRET_ID, NAMESPACE = "root-token", "our-role", "our-secret-id", "team-a"


class Memory:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries: dict[str, list[dict[str, Any] | None]] = {}
        self.tokens: set[str] = {TOKEN}
        self.steer: dict[str, Any] = {}
        self.seen: list[list[str]] = []


STATE = Memory()


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *given: Any) -> None:
        pass

    def say(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        raw = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), "Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def answer(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(raw) if raw else {}
        if self.path == "/steer":
            STATE.steer = body
            if body.get("expire_tokens"):
                STATE.tokens = {TOKEN}
            return self.say(200, {})
        if self.path == "/seen":
            return self.say(200, STATE.seen)
        STATE.seen.append([self.command, self.path, self.headers.get("X-Vault-Namespace") or ""])
        time.sleep(STATE.steer.get("slow_s", 0))
        if STATE.steer.get("sealed"):
            return self.say(503, {"errors": ["Vault is sealed"]})
        if STATE.steer.get("redirect"):
            return self.say(307, None, {"Location": STATE.steer["redirect"] + self.path})
        if STATE.steer.get("large"):
            return self.say(200, {"data": "x" * 2_000_000})
        if self.path == "/v1/auth/approle/login":
            return self.login(body)
        if self.headers.get("X-Vault-Token") not in STATE.tokens:
            return self.say(403, {"errors": ["permission denied"]})
        with STATE.lock:
            return self.kept(body)

    def login(self, body: dict[str, Any]) -> None:
        if (body.get("role_id"), body.get("secret_id")) != (ROLE_ID, SECRET_ID):
            return self.say(400, {"errors": ["invalid role or secret ID"]})
        token = f"hvs.{uuid.uuid4().hex}"
        STATE.tokens.add(token)
        return self.say(200, {"auth": {"client_token": token, "lease_duration": 3600}})

    def kept(self, body: dict[str, Any]) -> None:
        mount, kind, path = self.path.removeprefix("/v1/").split("/", 2)
        if mount != "secret":
            return self.say(404, {"errors": [f"no handler for route {mount}"]})
        key = f"{self.headers.get('X-Vault-Namespace') or ''}:{path}"
        versions = STATE.entries.get(key, [])
        match self.command, kind:
            case "POST", "data":
                cas = body.get("options", {}).get("cas")
                if cas is not None and cas != len(versions):
                    return self.say(400, {"errors": ["check-and-set parameter did not match the current version"]})
                STATE.entries[key] = [*versions, body["data"]]
                return self.say(200, {"data": {"version": len(versions) + 1}})
            case "GET", "data":
                if not versions:
                    return self.say(404, {"errors": []})
                if versions[-1] is None:
                    return self.say(404, {"data": {"data": None, "metadata": {"deletion_time": "2026-01-01T00:00:00Z"}}})
                return self.say(200, {"data": {"data": versions[-1], "metadata": {"version": len(versions)}}})
            case "DELETE", "data":
                if versions:
                    versions[-1] = None
                return self.say(204)
            case "DELETE", "metadata":
                STATE.entries.pop(key, None)
                return self.say(204)
        return self.say(405, {"errors": ["unsupported operation"]})

    do_GET = do_POST = do_DELETE = answer


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    print(server.server_port, flush=True)
    sys.stdout.flush()
    server.serve_forever()

"""What does each answer look like? One example a kind of answer; the schemas of the OpenAPI document are made from these."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Maybe:
    """A value that may be null instead."""

    value: Any


@dataclass(frozen=True, slots=True)
class Named:
    """An object whose keys are names chosen by people or by the kind of thing; all its values look alike, or like anything."""

    items: Mapping[str, Any]
    value: Any = None


@dataclass(frozen=True, slots=True)
class Shape:
    """An answer's name among the document's schemas, and an example of it."""

    name: str
    example: Mapping[str, Any]
    always: frozenset[str] | None = None
    """The keys that are always there; None for all of them."""


def schema_of(value: Any) -> dict[str, Any]:
    """The JSON Schema that an example stands for; null and an empty list stand for anything."""
    match value:
        case Maybe(value=inner):
            return {"anyOf": [schema_of(inner), {"type": "null"}]}
        case Named(value=inner):
            return {"type": "object", "additionalProperties": schema_of(inner)}
        case Shape(name=name):
            return {"$ref": f"#/components/schemas/{name}"}
        case Mapping():
            properties = {key: schema_of(item) for key, item in value.items()}
            return {"type": "object", "properties": properties, "required": list(properties)}
        case list():
            return {"type": "array", "items": schema_of(value[0]) if value else {}}
    names = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": names[type(value)]} if type(value) in names else {}


def shapes_in(value: Any) -> Mapping[str, Shape]:
    """Every shape that an example speaks of, itself included, by name."""
    match value:
        case Shape(name=name, example=example):
            return {name: value, **shapes_in(example)}
        case Maybe(value=inner):
            return shapes_in(inner)
        case Named(items=items):
            return shapes_in(dict(items))
        case Mapping():
            return {name: shape for item in value.values() for name, shape in shapes_in(item).items()}
        case list():
            return {name: shape for item in value for name, shape in shapes_in(item).items()}
    return {}


def plain(value: Any) -> Any:
    """An example as JSON."""
    match value:
        case Maybe(value=inner):
            return plain(inner)
        case Named(items=items):
            return plain(dict(items))
        case Shape(example=example):
            return plain(example)
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
        case list():
            return [plain(item) for item in value]
    return value


def listed(shape: Shape) -> Shape:
    """A page of a list of these."""
    return Shape(f"{shape.name}List", {"items": [shape], "next_cursor": Maybe("LFwXSyCeL16Eq5Xe3aPBA1siY2MtODQ2NjYwMjAiXQ")})


def written(kind: str, **key: Any) -> Shape:
    """What a write of this kind of thing answers, with the thing's own key."""
    command = "0b0f3c52-2b1c-5f57-9a55-0a7b7c0d8e11"
    stream = f"{kind}/{next(iter(key.values()))}"
    name = "".join(word.capitalize() for word in ("written", kind, *(word for word in key if word not in ("name", "run_id"))))
    return Shape(name, {"stream": stream, "version": 1, "command_id": command, **key})


def pending(gives: Shape) -> Shape:
    """What a write answers that was sent and not waited for: all but the version it will lead to."""
    left = {key: value for key, value in gives.example.items() if key not in ("version", "stream", "command_id")}
    return Shape(f"Pending{gives.name}", {**PENDING.example, **left}) if left else PENDING


TIME, LATER = "2026-11-24T12:00:00.000000Z", "2026-11-24T12:00:07.250000Z"
RUN_ID = "rotate-logs.01a20f1f-13a8-73a4-9249-d007f627b33d"
EVENT_ID = "4fb0bdd3-87bd-5b73-9aa0-89dee7037682"
_ERROR = Shape("Failure", {"code": "host_key_changed", "message": "the target shows another host key than the pinned one"})
_AUTHOR = Shape("Actor", {"kind": "user", "name": "admin"})

USER = Shape("User", {
    "name": "admin", "title": Maybe("Ada Admin"), "sealed_title": Maybe(EVENT_ID),
    "roles": ["administrator"], "disabled": False, "erased": False, "service": False,
    "linked": Maybe({"issuer": Maybe("https://id.example.org"), "subject": Maybe("248289761001")}),
    "last_sign_in_at": Maybe(LATER), "created_at": TIME, "updated_at": LATER, "version": 2,
})  # fmt: skip

API_TOKEN = Shape("ApiToken", {
    "token": EVENT_ID, "title": "CI", "permissions": Maybe(["jobs.read", "runs.start"]), "issued_at": TIME, "expires_at": LATER,
})  # fmt: skip

SESSION = Shape("Session", {
    "session": "01a20f1f-13a8-73a4-9249-d007f627b33d", "begun_at": "2026-11-25T08:00:00.000Z",
    "refreshed_at": Maybe("2026-11-25T11:45:12.250Z"), "begun_by": "password", "current": True,
})  # fmt: skip

ENDED_SESSIONS = Shape("EndedSessions", {"ended": ["01a20f1f-13a8-73a4-9249-d007f627b33d"]})

ISSUED_TOKEN = Shape("IssuedToken", {
    "stream": "user/alice", "version": 3, "command_id": "0b0f3c52-2b1c-5f57-9a55-0a7b7c0d8e11", "name": "alice",
    "token_id": EVENT_ID, "token": Maybe(f"ops.alice.{EVENT_ID}.kJ3…"),
})  # fmt: skip

ROLE = Shape("Role", {
    "name": "web-operator", "title": "Web", "permissions": ["jobs.read", "runs.start"],
    "limits": {"targets": Maybe("env=staging"), "jobs": Maybe("web-*"), "credentials": Maybe("web-*")},
    "built_in": False, "removed": False, "created_at": Maybe(TIME), "updated_at": Maybe(LATER), "version": 2,
})  # fmt: skip

EXPLANATION = Shape("Explanation", {
    "user": "alice", "permission": "runs.start", "object": Maybe("job/web-deploy"), "allowed": False,
    "why": "web-operator is limited to targets env=staging, which db-01 is not one of",
    "roles": [{"role": "web-operator", "allows": False, "why": "is limited to jobs web-*, which db-deploy is not one of"}],
})  # fmt: skip

CREDENTIAL = Shape("Credential", {
    "name": "deploy-key", "title": "Deploy", "kind": "ssh_key", "revision": 2, "revoked": False, "shredded": False,
    "created_at": TIME, "updated_at": LATER, "version": 2,
})  # fmt: skip

TARGET = Shape("Target", {
    "name": "web-01", "title": "Web 1", "host": "10.0.0.5", "labels": Named({"env": "prod", "role": "web"}, ""),
    "connection": {"kind": "ssh", "port": 22, "credential": "deploy-key", "host_key": Maybe("ssh-ed25519 AAAA…")},
    "retired": False, "reachable": Maybe(True),
    "last_check": Maybe({
        "check": EVENT_ID, "reachable": True, "seconds": Maybe(0.05), "code": Maybe("timed_out"), "message": Maybe("no answer"),
        "details": Named({"cipher": "aes128-gcm@openssh.com"}, ""), "time": TIME,
    }),
    "created_at": TIME, "updated_at": LATER, "version": 3,
})  # fmt: skip

_DEFINITION: Mapping[str, Any] = {
    "title": "Rotate logs",
    "targets": "env=prod,role=web",
    "parameters": [{
        "name": "days", "type": "integer", "title": "", "default": None, "required": Maybe(True), "minimum": Maybe(1.0),
        "maximum": Maybe(90.0), "choices": None,
    }],
    "strategy": {"batch_size": None, "parallelism": 20, "max_failures": None, "order": "name"},
    "on_executor_loss": "resume", "timeout_s": 3600.0, "concurrency": "allow",
    "steps": [Named({"name": "rotate", "kind": "command", "run": "logrotate -f /etc/logrotate.conf", "timeout_s": 60.0})],
}  # fmt: skip

JOB = Shape("Job", {
    "name": "rotate-logs", "revision": 1, "archived": False, "created_at": TIME, "updated_at": TIME, "version": 1, **_DEFINITION,
})  # fmt: skip

REVISION = Shape("Revision", {"name": "rotate-logs", "revision": 1, "author": "admin", "time": TIME, **_DEFINITION})

RUN = Shape("Run", {
    "id": RUN_ID, "job": "rotate-logs", "revision": 1, "state": "succeeded", "ending": Maybe("cancelled"),
    "requested_by": "admin", "reason": "disk is full", "cancelled_by": Maybe("admin"), "cancel_reason": Maybe("too late"),
    "selector": "env=prod,role=web", "waits_for": [], "error": Maybe(_ERROR),
    "executor": Maybe("executor-1"), "correlation_id": "01a20f1f-13a6-727a-ace1-fbb0c34b2993", "requested_at": TIME,
    "started_at": Maybe(TIME), "finished_at": Maybe(LATER), "version": 7,
    "parameters": Named({"days": 7, "token": "***"}), "targets": Named({"total": 2, "succeeded": 2, "failed": 0}, 0),
})  # fmt: skip

STEP = Shape("Step", {
    "step": "rotate", "target": "web-01", "attempt": 1, "state": "succeeded", "exit_code": Maybe(0),
    "started_at": Maybe(TIME), "finished_at": Maybe(LATER), "error": Maybe(_ERROR),
})  # fmt: skip

OUTPUT = Shape("Output", {
    "target": "web-01", "step": "rotate", "attempt": 1, "stream": "stdout", "sequence": 1, "time": TIME, "text": "done\n",
})  # fmt: skip

PLAN = Shape("Plan", {
    "job": "rotate-logs", "revision": 1, "targets": ["web-01", "web-02"], "batches": [["web-01"], ["web-02"]],
    "steps": _DEFINITION["steps"],
})  # fmt: skip

EVENT = Shape("Event", {
    "id": EVENT_ID, "type": "TargetRetitled", "schema_version": 1, "stream": "target/web-01", "version": 2, "actor": _AUTHOR,
    "on_behalf_of": Maybe(_AUTHOR), "time": TIME, "correlation_id": "01a20f1f-13a6-727a-ace1-fbb0c34b2993",
    "causation_id": Maybe(EVENT_ID), "command_id": "a6f23e81-8d20-55e0-96d7-d2bf894bb9ce", "position": "targets/2/25",
    "payload": Named({"title": "Web 1"}),
})  # fmt: skip

OUTCOME = Shape("Outcome", {
    "command_id": "a6f23e81-8d20-55e0-96d7-d2bf894bb9ce", "state": "accepted", "stream": "target/web-01", "type": "ChangeTarget",
    "time": TIME, "correlation_id": "01a20f1f-13a6-727a-ace1-fbb0c34b2993", "version": 2, "event_ids": [EVENT_ID],
}, frozenset({"command_id", "state"}))  # fmt: skip

PENDING = Shape("Pending", {
    "stream": "target/web-01", "command_id": "a6f23e81-8d20-55e0-96d7-d2bf894bb9ce", "state": "unknown",
})  # fmt: skip

TOKENS = Shape("Tokens", {
    "access_token": "eyJhbGciOiJFUzI1NiIs…", "token_type": "Bearer", "expires_in": 900,
    "refresh_token": Maybe("0190….kJ3…"), "refresh_expires_in": Maybe(604800),
})  # fmt: skip

ME = Shape("Me", {"name": "admin", "roles": ["administrator"], "permissions": ["targets.read", "targets.write"]})
SIGNED_OUT = Shape("SignedOut", {"signed_out": True})
KEYS = Shape(
    "Keys", {"keys": [Named({"kty": "EC", "crv": "P-256", "kid": "hyPFUX3Wg6-8EnGj", "alg": "ES256", "use": "sig"}, "")]}
)
LIVE = Shape("Live", {"status": "live"})
HEALTH = Shape("Health", {
    "status": "ok", "checks": Named({"log": "ok", "read_models": "ok", "users": "ok"}, ""),
    "stopped_projections": [{"projection": "targets", "stopped_at": Maybe("targets/2/25")}],
    "unserved_shards": [{"shard": 2, "stopped_at": Maybe("targets/2/25"), "reason": "not_an_event"}],
    "waiting_shards": [{"shard": 2, "waiting_s": 34.2}],
    "warnings": ["not durable against broker loss: the log has 1 replica, 3 survive one"],
})  # fmt: skip

PROJECTION = Shape("Projection", {
    "name": "targets", "state": "live", "generation": 1, "lag_events": 0, "lag_seconds": 0.0, "stopped_at": Maybe("targets/2/25"),
    "error": Maybe("unknown event type"), "rebuild_requested": False, "rebuild_done": Maybe(0), "rebuild_total": Maybe(0),
    "positions": Named({"targets/0": 26}, 0),
})  # fmt: skip

REBUILD = Shape("Rebuild", {"name": "targets", "rebuild_requested": True})

CHECK = Shape("LogCheck", {
    "intact": True, "events": 1309,
    "first_bad": Maybe(Named({"position": "targets/2/25", "reason": "altered: its hash is not that of what it says"})),
    "bad": [], "chains": [{"topic": "targets", "shard": 0, "events": 26, "head": "9115d7e3…"}],
})  # fmt: skip

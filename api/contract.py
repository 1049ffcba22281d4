"""What does the OpenAPI document say? It is made from the table of routes; bodies come from the domain's own dataclasses."""

import re
from functools import cache
from typing import Any

from api import shapes
from api.routes.all import TABLE
from api.routes.route import Route
from api.shapes import Shape
from schemas.http.closed import closed
from schemas.problems import TABLE as PROBLEMS

_REFERENCE = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"\{(\w+)\}")
_JSON = "application/json"

_DESCRIPTIONS = {
    "limit": "How many items at most: 1 to 1,000, 50 if not said.",
    "cursor": "`next_cursor` of the page before.",
    "sort": "The order; a leading `-` turns it round.",
    "selector": "Which targets: `env=prod,role!=db`.",
    "as_of": "How it was: a version of the stream, or an RFC 3339 time; a list takes a time.",
    "follow": "`true`: server-sent events as they come.",
}

_TEXT = {"type": "string"}
_QUERY: dict[str, dict[str, Any]] = {"limit": {"type": "integer", "minimum": 1, "maximum": 1000}}

_PROBLEMS = {
    "400": "The request cannot be read",
    "401": "Nobody we know asks",
    "403": "This is not permitted",
    "404": "There is no such thing",
    "408": "The request did not arrive in time",
    "409": "It does not fit the state",
    "412": "The version is another one",
    "413": "The body, or what it would cause, is too large",
    "415": "The body is of another type than is taken",
    "422": "The request is read and wrong; `errors` names the fields",
    "429": "Too many requests, attempts or streams, or too many that wait",
    "431": "The head of the request is too large",
    "5XX": "Not the caller's fault: 500, or 503 with Retry-After",
}


@cache
def openapi() -> dict[str, Any]:
    """The document; the same for every app of the process, so not to be changed."""
    schemas: dict[str, Any] = {"Problem": _problem()}
    paths: dict[str, dict[str, Any]] = {}
    for route in TABLE:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    bearer = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "OpsConductor", "version": "1", "description": "Writes are commands; errors are problem details."},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {status: _problem_answer(status) for status in _PROBLEMS},
            "securitySchemes": {"bearer": bearer},
        },
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-z0-9]+', '_', route.path.removeprefix('/api/v1').lower())}",
        "summary": route.summary,
        "description": (route.answer.__doc__ or "").strip(),
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": _responses(route, schemas),
    }
    if route.permission is not None:
        operation["security"] = [{"bearer": []}]
        operation["x-permission"] = route.permission
    if (body := _body(route, schemas)) is not None:
        operation["requestBody"] = body
    return operation


def _responses(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    responses = {str(route.status): _answer("Done", route.gives, schemas)}
    if isinstance(route.gives, Shape) and _is_write(route):
        responses[str(route.status)]["headers"].update(_told("ETag", "Location"))
        responses["202"] = _answer("Sent; what becomes of it is told at Location", shapes.pending(route.gives), schemas)
        responses["202"]["headers"].update(_told("Location"))
    if route.path.endswith("/runs") and route.method == "POST":
        responses["200"] = _answer("With dry_run: what the run would do", shapes.PLAN, schemas)
    if route.path.endswith("/auth/oidc/callback"):
        responses["302"] = {"description": "Back to the program that asked", "headers": _told("X-Correlation-Id", "Location")}
    if "follow" in route.query:
        responses[str(route.status)]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return {**responses, **{status: {"$ref": f"#/components/responses/{status}"} for status in _problems_of(route)}}


def _problems_of(route: Route) -> list[str]:
    """With which statuses a problem may be told; `5XX` is ours, not the caller's."""
    statuses = ["400", "408", "413", "415", "422", "429", "431", "5XX"]  # also where no body is asked for: one may come
    if route.permission is not None:
        statuses += ["401", "403"]
    if "{" in route.path:
        statuses += ["404"]
    if _is_write(route):
        statuses += ["404", "409", "412"]
    if route.path.startswith("/api/v1/auth/"):
        statuses += ["401", "403", "404", "409"]
    return sorted(set(statuses))


def _problem_answer(status: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": _REFERENCE.format(model="Problem")}}}
    told = _told(
        "X-Correlation-Id", *(["WWW-Authenticate"] if status == "401" else []), *(["Retry-After"] if status == "429" else [])
    )
    return {"description": _PROBLEMS[status], "headers": told, "content": content}


def _is_write(route: Route) -> bool:
    """Whether it becomes a command: then its answer names the command."""
    return isinstance(route.gives, Shape) and route.method != "GET" and "command_id" in route.gives.example


def _answer(description: str, gives: Shape | str, schemas: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"description": description, "headers": _told("X-Correlation-Id")}
    if isinstance(gives, str):
        return {**said, "content": {gives: {"schema": {"type": "object" if gives == _JSON else "string"}}}}
    for name, shape in shapes.shapes_in(gives).items():
        schemas[name] = shapes.schema_of(shape.example)
        if shape.always is not None:
            schemas[name]["required"] = sorted(shape.always)
    return {**said, "content": {_JSON: {"schema": shapes.schema_of(gives), "example": shapes.plain(gives)}}}


def _told(*names: str) -> dict[str, Any]:
    return {name: {"schema": {"type": "string"}} for name in names}


def _body(route: Route, schemas: dict[str, Any]) -> dict[str, Any] | None:
    if route.path.endswith("/auth/token"):
        fields = {name: {"type": "string"} for name in ("grant_type", "username", "password")}
        form = {"type": "object", "properties": fields, "required": list(fields)}
        example = {"grant_type": "password", "username": "admin", "password": "correct-horse-battery"}
        return {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form, "example": example}}}
    if route.takes is None:
        return None
    schema = closed(route.takes).json_schema(ref_template=_REFERENCE)
    schemas.update(schema.pop("$defs", {}))
    if route.path == "/api/v1/jobs" or route.path == "/api/v1/jobs/{name}":
        schema["properties"] = {"name": {"type": "string"}, **schema["properties"]}
    kind = "application/merge-patch+json" if route.method == "PATCH" else _JSON
    content = {"schema": schema, "example": dict(route.example or {})}
    return {"required": bool(schema.get("required")), "content": {kind: content}}


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    names = _PARAMETER.findall(route.path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "schema": _QUERY.get(name, _TEXT), "description": _DESCRIPTIONS.get(name, "A filter.")}
        for name in sorted(route.query)
    ]


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    if route.permission is None:
        return []
    names = ["Ops-Min-Version", "Ops-Min-Position", "X-Correlation-Id"]
    if _is_write(route):
        names += ["Idempotency-Key", "If-Match", "Prefer"]
    return [{"name": name, "in": "header", "schema": {"type": "string"}} for name in names]


def _problem() -> dict[str, Any]:
    text = {"type": "string"}
    error = {"type": "object", "properties": {"field": text, "message": text}, "required": ["field", "message"]}
    properties: dict[str, Any] = {
        "type": text,
        "title": text,
        "status": {"type": "integer"},
        "code": {"type": "string", "enum": sorted(PROBLEMS)},
        "detail": text,
        "correlation_id": text,
        "errors": {"type": "array", "items": error},
    }
    return {
        "type": "object",
        "properties": properties,
        "required": ["type", "title", "status", "code", "detail", "correlation_id"],
    }

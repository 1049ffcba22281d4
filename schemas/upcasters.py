"""How does an old event become a current one?

An upcaster takes the JSON object of one schema version to the next; history is changed only on its way to the reader, never in
the log. `TABLE` maps (event type, schema version) to the step to the version after it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

TABLE: Mapping[tuple[str, int], Upcaster] = {
    ("CommandsDenied", 1): lambda body: {**body, "about": [], "others": sum(body["counts"].values())},
    ("UserCreated", 1): lambda body: {**body, "title": ""},
}


def upcast(kind: str, version: int, current: int, payload: bytes) -> bytes:
    """`payload` of schema `version` as one of `current`; returned as it is when they are the same."""
    if version == current:
        return payload
    body = orjson.loads(payload)
    for step in range(version, current):
        body = TABLE[kind, step](body)
    return orjson.dumps(body)

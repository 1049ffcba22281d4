"""What does a job file say? JSON, or the part of YAML that says the same, read with a bound on everything (HAZARDS §4 case 37).

What can be read as JSON is JSON, under the API's own rules: no key twice, no NaN, nothing that cannot be stored. All else is YAML
(`infra.cli.strict_yaml`), and comes to JSON's types, too.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.cli.given import BadFile, text
from schemas.text import MAX_SAFE_INTEGER, unstorable

MAX_DEPTH = 50
_LONGEST_INTEGER = 20
_BYTE_ORDER_MARK = "\ufeff"


class BadDocument(BadFile):
    """The file is not a document we read; the message says where."""


def read(path: Path) -> Any:
    """The document in a file (`-` is standard input). Raises `BadFile`."""
    try:
        document = _read(text(path).removeprefix(_BYTE_ORDER_MARK), path)
    except BadDocument as bad:
        raise BadDocument(f"{path}: {bad}") from None
    except RecursionError:
        raise BadDocument(f"{path}: nested deeper than {MAX_DEPTH}") from None
    for where, reason in unstorable(document):
        raise BadDocument(f"{path}: {where or 'the document'} {reason}")
    return document


def _read(said: str, path: Path) -> Any:
    try:
        return from_json(said)
    except json.JSONDecodeError as error:
        no_json = f"{error.msg} (line {error.lineno}, column {error.colno})"
    if path.suffix.lower() == ".json":
        raise BadDocument(f"is no JSON: {no_json}")
    from infra.cli.strict_yaml import loaded  # few commands read a file, and it takes a while to load

    try:
        return loaded(said)
    except BadDocument as bad:
        # YAML is written like this, too; but who begins so most likely meant JSON.
        meant = f"; read as JSON: {no_json}" if said.lstrip()[:1] in ("{", "[") else ""
        raise BadDocument(f"{bad}{meant}") from None


def from_json(said: str) -> Any:
    """What JSON says. Raises `JSONDecodeError` when it is none, `BadDocument` when it is none that all read alike."""
    found = json.loads(said, object_pairs_hook=_object, parse_constant=_constant, parse_int=whole)
    if _deeper_than(found, MAX_DEPTH):
        raise BadDocument(f"nested deeper than {MAX_DEPTH}")
    return found


def whole(digits: str) -> int:
    """A whole number; one that is too large to be kept is so without being worked out, which would take long."""
    return int(digits) if len(digits) <= _LONGEST_INTEGER else MAX_SAFE_INTEGER + 1


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise BadDocument(f"{key!a} is there twice")
        found[key] = value
    return found


def _constant(name: str) -> Any:
    raise BadDocument(f"{name} is not JSON")


def _deeper_than(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (levels == 0 or any(_deeper_than(item, levels - 1) for item in inner))

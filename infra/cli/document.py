"""What does a job file say? JSON, or the part of YAML that says the same, read with a bound on everything (HAZARDS §4 case 37).

What can be read as JSON is JSON, under the API's own rules: no key twice, no NaN, nothing that cannot be stored. All else is YAML
(`infra.cli.strict_yaml`), and comes to JSON's types, too.
"""

import json
from pathlib import Path
from typing import Any

from infra.cli.given import BadFile, text
from schemas.strict_json import MAX_DEPTH, NotStrict, loads
from schemas.text import unstorable

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
        return loads(said)
    except NotStrict as error:
        raise BadDocument(str(error)) from None
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

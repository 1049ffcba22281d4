"""Which values does a run get? From arguments, from files and, for secrets that nobody gave, from who sits at the terminal.

A secret is never taken from an argument, which every account of the machine can read while the command runs.
"""

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from infra.cli.client import Client, ServerRefused
from infra.cli.context import at, pairs
from infra.cli.given import text

_BY_ARGUMENT, _BY_FILE = "--parameter", "--parameter-file"
_WHOLE = r"-?(?:0|[1-9][0-9]*)"
_NUMBERS: Mapping[str, re.Pattern[str]] = {
    "integer": re.compile(_WHOLE),
    "number": re.compile(rf"{_WHOLE}(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"),
}
"""How JSON writes them, in ASCII and with nothing around them."""

_LONGEST_NUMBER = 400


def given(client: Client, job: str, arguments: Sequence[str], files: Sequence[str]) -> dict[str, Any]:
    """The parameters of a run of `job`, each `name=value` or `name=FILE`, in the types that the job names.

    Wrong usage where a name is given twice, standard input is read twice, or a secret is an argument. Raises `BadFile` and what
    the client does.
    """
    said, named = pairs(arguments, _BY_ARGUMENT), pairs(files, _BY_FILE)
    if twice := sorted(said.keys() & named.keys()):
        raise typer.BadParameter(f"{twice[0]} is given as {_BY_ARGUMENT}, too", param_hint=_BY_FILE)
    if list(named.values()).count("-") > 1:
        raise typer.BadParameter("standard input can be only one parameter", param_hint=_BY_FILE)
    asks = sys.stdin.isatty()
    known = _known(client, job, needed=bool(said or named)) if said or named or asks else {}
    for name in said:
        if known.get(name, {}).get("type") == "secret":
            raise typer.BadParameter(
                f"{name} is secret, and an argument can be read by others: use {_BY_FILE} {name}=FILE", param_hint=_BY_ARGUMENT
            )
    texts = said | {name: without_line_end(text(Path(file))) for name, file in named.items()}
    values = {name: typed(known.get(name, {}).get("type", "string"), value) for name, value in texts.items()}
    return values | (_asked_for(known, values) if asks else {})


def _known(client: Client, job: str, *, needed: bool) -> Mapping[str, Mapping[str, Any]]:
    """The job's parameters by name; none where they are not `needed` and the caller may not see them."""
    try:
        return {parameter["name"]: parameter for parameter in client.get(at("jobs", job))["parameters"]}
    except ServerRefused as refused:
        if needed or refused.status not in (403, 404):
            raise
        return {}


def _asked_for(known: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    wanted = [
        name for name, parameter in known.items() if parameter["type"] == "secret" and parameter.get("required") is not False
    ]
    return {name: typer.prompt(name, hide_input=True, err=True) for name in wanted if name not in values}


def without_line_end(said: str) -> str:
    """What a file says without the end of its last line: editors put one there. Who means one writes two."""
    return said.removesuffix("\n").removesuffix("\r") if said.endswith("\n") else said


def typed(kind: str, said: str) -> Any:
    """The value as JSON has it; what is none of this kind stays text, and the server says what is wrong with it."""
    if kind == "boolean":
        return {"true": True, "false": False}.get(said, said)
    if kind not in _NUMBERS or len(said) > _LONGEST_NUMBER or not _NUMBERS[kind].fullmatch(said):
        return said
    value = json.loads(said)
    return value if math.isfinite(value) else said

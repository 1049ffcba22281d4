"""Where in a script do values go?

A placeholder is `{{ dotted.path }}`. Values never enter the script: each placeholder becomes a reference to an environment
variable, in one pass, so that no value can become syntax or be expanded again. What is not a dotted path stays literal text.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

_PLACEHOLDER = re.compile(r"\{\{[ \t]*([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_/.-]*[A-Za-z0-9_])?)[ \t]*\}\}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One place for a value: the name it asks for, where it begins in the text and where the text goes on."""

    name: str
    start: int
    end: int


def names_in(text: str, at_most: int | None = None) -> list[Placeholder]:
    """Every placeholder in `text`, in order, or the first `at_most`."""
    return [Placeholder(match[1], *match.span()) for match in islice(_PLACEHOLDER.finditer(text), at_most)]


def referring(text: str, reference: Callable[[str], str]) -> str:
    """`text` with each placeholder replaced by `reference(name)`, in one pass."""
    return _PLACEHOLDER.sub(lambda match: reference(match[1]), text)


def variable_of(name: str) -> str:
    """The environment variable that carries a placeholder's value; no two names share one.

    `parameters.days` → `OPS_PARAM_DAYS`, `target.name` → `OPS_TARGET_NAME`, `labels.os` → `OPS_LABEL_os`.
    """
    kind, _, key = name.partition(".")
    if kind == "parameters":
        return f"OPS_PARAM_{key.upper()}"
    if kind == "labels":
        return "OPS_LABEL_" + "".join(c if c.isalnum() else f"_{ord(c):02x}" for c in key)
    return f"OPS_{kind.upper()}_{key.upper()}"

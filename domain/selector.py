"""Which targets does `env=prod,role!=db` mean?

Requirements separated by commas, all of which must hold: `key=value`, `key!=value` (also true where the key is missing),
`key` (exists) and `!key` (does not exist). The key `name` stands for the target's own name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from domain.rejection import FieldError, Invalid

LABEL_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?", re.ASCII)
LABEL_KEY_RULE = "1 to 63 letters, digits, '.', '_', '/' and '-', beginning and ending with a letter or digit"
MAX_LABELS = 64
MAX_LABEL_VALUE = 200
MAX_SELECTOR = 2_000
NAME_KEY = "name"

Operator = Literal["=", "!=", "exists", "absent"]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a target's labels."""

    key: str
    operator: Operator
    value: str = ""

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels (with `name`) meet this condition."""
        match self.operator:
            case "=":
                return labels.get(self.key) == self.value
            case "!=":
                return labels.get(self.key) != self.value
            case "exists":
                return self.key in labels
            case "absent":
                return self.key not in labels


Selector = tuple[Requirement, ...]


def parse_selector(text: str, field: str = "selector") -> Selector:
    """The requirements written in `text`; raises `Invalid` naming `field` when it does not parse or is empty."""
    if not text.strip():
        raise Invalid(FieldError(field, "must name at least one requirement, such as env=prod"))
    if len(text) > MAX_SELECTOR:
        raise Invalid(FieldError(field, f"is longer than {MAX_SELECTOR} characters"))
    return tuple(_requirement(part.strip(" "), field) for part in text.split(","))


def _requirement(part: str, field: str) -> Requirement:
    if "=" in part:
        key, _, value = part.partition("=")  # the first operator counts: a value may contain "!="
        operator: Operator = "!=" if key.endswith("!") else "="
        return _checked(Requirement(key.removesuffix("!").strip(" "), operator, value.strip(" ")), part, field)
    if part.startswith("!"):
        return _checked(Requirement(part[1:].strip(" "), "absent"), part, field)
    return _checked(Requirement(part, "exists"), part, field)


def _checked(requirement: Requirement, part: str, field: str) -> Requirement:
    if not LABEL_KEY.fullmatch(requirement.key):
        raise Invalid(FieldError(field, f"{part!r} is not key=value, key!=value, key or !key"))
    if requirement.operator in ("=", "!=") and (reason := _why_no_value(requirement.value)):
        raise Invalid(FieldError(field, f"the value in {part!r} {reason}"))
    return requirement


def _why_no_value(value: str) -> str | None:
    if value.startswith("="):
        return "begins with '='"
    if len(value) > MAX_LABEL_VALUE or not value.isprintable():
        return f"is longer than {MAX_LABEL_VALUE} characters or not printable"
    return None


def matches(selector: Selector, name: str, labels: Mapping[str, str]) -> bool:
    """Whether the target called `name` with `labels` is meant."""
    known = {**labels, NAME_KEY: name}
    return all(requirement.holds(known) for requirement in selector)


def check_labels(labels: Mapping[str, str], field: str = "labels") -> list[FieldError]:
    """What is wrong with a target's labels; empty when nothing is."""
    if len(labels) > MAX_LABELS:
        return [FieldError(field, f"has more than {MAX_LABELS} labels")]
    errors = []
    for key, value in labels.items():
        if not LABEL_KEY.fullmatch(key):
            errors.append(FieldError(f"{field}.{key}", f"a key is {LABEL_KEY_RULE}"))
        elif key == NAME_KEY:
            errors.append(FieldError(f"{field}.{key}", "is the target's own name in selectors and cannot be a label"))
        elif (reason := _why_no_value(value)) or "," in value or value != value.strip():
            errors.append(FieldError(f"{field}.{key}", reason or "contains a comma or begins or ends with a space"))
    return errors

"""Which YAML is one thing only, to every reader? What comes to JSON's types, by JSON's own words for them (YAML 1.2 §10.2).

`true`, `false`, `null` (or `~`, or nothing) and numbers as JSON writes them; every other word is text: `no`, `017`, `1:30`,
`2026-11-24`. `.nan` and `.inf`, which mean numbers that JSON does not have, are refused, as are aliases and tags.
"""

import re
from typing import Any

import yaml

from infra.cli.document import BadDocument
from schemas.strict_json import MAX_DEPTH, whole

_TAG = "tag:yaml.org,2002:"
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def loaded(text: str) -> Any:
    """What the text says. Raises `BadDocument` with a message of one line, `RecursionError`."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise BadDocument(_one_line(error.problem or error.context or "is no YAML") + where) from None
    except yaml.YAMLError as error:
        raise BadDocument(_one_line(str(error))) from None


def _one_line(message: str) -> str:
    return " ".join(message.split())


class _Loader(yaml.SafeLoader):
    """YAML without aliases, merge keys, duplicate keys or tags."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise BadDocument(f"aliases are not allowed (line {self.line + 1})")
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if event.tag is not None:
            raise BadDocument(f"tags are not allowed (line {event.start_mark.line + 1})")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise BadDocument(f"nested deeper than {MAX_DEPTH}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            where = f"(line {key_node.start_mark.line + 1})"
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise BadDocument(f"a key must be text {where}")
            if key == "<<" and key_node.style is None:
                raise BadDocument(f"merge keys are not allowed {where}")
            if key in mapping:
                raise BadDocument(f"{key!a} is there twice {where}")
            mapping[key] = self.construct_object(value_node, deep=True)
        return mapping

    def whole_number(self, node: Any) -> int:
        return whole(node.value)

    def number(self, node: Any) -> float:
        if _NO_NUMBER.fullmatch(node.value):
            raise BadDocument(f"{node.value} is no number of JSON (line {node.start_mark.line + 1})")
        return float(node.value)


_WORDS = (
    ("bool", "tf", r"true|false"),
    ("null", ("n", "~", ""), r"null|~|"),
    ("int", "-0123456789", r"-?(?:0|[1-9][0-9]*)"),
    ("float", "-0123456789", r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"),
    ("float", "-+.", _NO_NUMBER.pattern),
)

_Loader.yaml_implicit_resolvers = {}
for _tag, _firsts, _pattern in _WORDS:
    for _first in _firsts:
        _Loader.yaml_implicit_resolvers.setdefault(_first, []).append((_TAG + _tag, re.compile(rf"(?:{_pattern})\Z")))
_Loader.add_constructor(_TAG + "int", _Loader.whole_number)
_Loader.add_constructor(_TAG + "float", _Loader.number)

"""Which YAML is one thing only, to every reader?"""

import re
from typing import Any

import yaml
from yaml import YAMLError

from infra.cli.document import BadDocument

__all__ = ["YAMLError", "loaded"]

MAX_DEPTH = 50


def loaded(text: str) -> Any:
    """What the text says. Raises `BadDocument`, `YAMLError`, `RecursionError`."""
    return yaml.load(text, Loader=_Loader)


class _Loader(yaml.SafeLoader):
    """YAML without aliases, duplicate keys or tags, and with `true` and `false` as the only booleans."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise BadDocument(f"aliases are not allowed (line {self.line + 1})")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise BadDocument(f"nested deeper than {MAX_DEPTH}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise BadDocument(f"a key must be text (line {key_node.start_mark.line + 1})")
            if key in mapping:
                raise BadDocument(f"{key!r} is there twice (line {key_node.start_mark.line + 1})")
            mapping[key] = self.construct_object(value_node, deep=True)
        return mapping


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _first in "tf":
    _Loader.yaml_implicit_resolvers.setdefault(_first, []).append(("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$")))

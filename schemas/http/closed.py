"""How is a request body given its shape? By the domain's own dataclasses, closed: unknown fields and other types are refused.

Closing is done here and does not touch how commands and events are read: a newer event's field must not stop an older reader.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NewType, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from domain.rejection import FieldError, Invalid

T = TypeVar("T")

_CLOSED = ConfigDict(extra="forbid", strict=True)

_MESSAGES = {
    "missing": "is required",
    "unexpected_keyword_argument": "is not known here",
    "extra_forbidden": "is not known here",
    "string_type": "must be text",
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "dataclass_type": "must be an object",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
}


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def closed(kind: Any) -> TypeAdapter[Any]:
    """The closed adapter of a dataclass and all it holds, built once."""
    known = _ADAPTERS.get(kind)
    if known is None:
        # pydantic takes no configuration beside a dataclass itself, but passes that of whatever holds it down to it.
        new_type: Any = NewType
        held = new_type(kind.__name__, kind)
        known = _ADAPTERS[kind] = TypeAdapter(held, config=_CLOSED)
    return known


def read(kind: type[T], raw: bytes, plain: Mapping[str, Any], at: str = "") -> T:
    """The dataclass written as JSON in `raw`; `plain` is the same, parsed. Raises `Invalid` naming the fields below `at`."""
    try:
        value: T = closed(kind).validate_json(raw)
    except ValidationError as error:
        raise Invalid(*_field_errors(error, plain, at)) from None
    return value


def _field_errors(error: ValidationError, plain: Any, at: str) -> Iterator[FieldError]:
    """One error a field, in the caller's words: never a union's branch, never the input (it may be a secret)."""
    said: dict[str, list[str]] = {}
    for complaint in error.errors(include_input=False, include_url=False):
        path = _path_in(plain, complaint["loc"])
        if path is None:
            continue
        message = _MESSAGES.get(complaint["type"]) or complaint["msg"].removeprefix("Input should be ")
        if complaint["type"] == "literal_error":
            message = f"must be one of {complaint['ctx']['expected']}"
        said.setdefault(".".join([at, *path] if at else path), []).append(message)
    return (FieldError(field, " or ".join(dict.fromkeys(messages))) for field, messages in said.items())


def _path_in(plain: Any, loc: tuple[int | str, ...]) -> list[str] | None:
    """`loc` without the names of union branches; None for a branch of another kind than the input says it is."""
    path: list[str] = []
    for part in loc:
        if isinstance(part, str) and _is_branch(part, plain):
            if isinstance(plain, dict) and not part.lower().startswith(str(plain.get("kind", ""))):
                return None
            continue
        path.append(str(part))
        if isinstance(plain, dict):
            plain = plain.get(part)
        else:
            plain = plain[part] if isinstance(plain, list) and isinstance(part, int) and part < len(plain) else None
    return path


def _is_branch(part: str, plain: Any) -> bool:
    """Whether a part of a location names a union's branch: a class beside an object, or a type beside a value."""
    if isinstance(plain, dict):
        return part not in plain and (part[:1].isupper() or part in _PLAIN_TYPES)
    return True


_PLAIN_TYPES = frozenset({"str", "int", "float", "bool"})

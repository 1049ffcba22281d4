"""How does a command's or event's payload become JSON and come back?

The domain's dataclasses are the schema; there are no mirror classes. Commands are checked when read; events are history and are
only given their shape again.
"""

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from domain.rejection import FieldError, Invalid
from schemas.text import unstorable

T = TypeVar("T")


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def adapter(kind: Any) -> TypeAdapter[Any]:
    """The pydantic adapter of a dataclass, built once."""
    known = _ADAPTERS.get(kind)
    if known is None:
        known = _ADAPTERS[kind] = TypeAdapter(kind)
    return known


def to_json(value: object) -> bytes:
    """The JSON object of a command's or event's dataclass. Raises `Invalid` for text that cannot be stored."""
    kind = adapter(type(value))
    plain = kind.dump_python(value, mode="python")
    if errors := tuple(FieldError(path, reason) for path, reason in unstorable(plain)):
        raise Invalid(*errors, code="unstorable_text")
    return kind.dump_json(value)


def from_json(kind: type[T], payload: bytes) -> T:
    """The dataclass written in `payload`. Raises `Invalid` naming the fields at fault."""
    try:
        value: T = adapter(kind).validate_json(payload)
    except ValidationError as error:
        raise Invalid(*field_errors(error)) from None
    return value


def field_errors(error: ValidationError) -> tuple[FieldError, ...]:
    """pydantic's complaints as ours: dotted paths and messages, never the input (it may be a secret)."""
    return tuple(
        FieldError(".".join(str(part) for part in complaint["loc"] if not _is_union_branch(part)), complaint["msg"])
        for complaint in error.errors(include_input=False, include_url=False, include_context=False)
    )


def _is_union_branch(part: Any) -> bool:
    return isinstance(part, str) and not part.replace("_", "").replace("-", "").isalnum()


"""How does a command's or event's payload become JSON and come back?

The domain's dataclasses are the schema; there are no mirror classes. Commands are checked when read: unknown fields, wrong types
and numbers that are not finite are refused. Events are history and are only given their shape again: fields that a later version
dropped are passed over.
"""

from dataclasses import dataclass, is_dataclass
from types import NoneType, UnionType
from typing import Any, NewType, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, SchemaSerializer

from domain.rejection import FieldError, Invalid
from schemas.text import refusal

T = TypeVar("T")

CLOSED = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, ser_json_inf_nan="constants")
"""How commands and requests are read and everything is written: a number that is not finite shows in what was written."""


_REPLACED = "\ufffd".encode()
"""What a lone surrogate in the key of a mapping is written as."""

_LONG_NUMBER = b"0" * 16
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")
"""Digits enough for an integer beyond 2^53, looked for where every digit is a 0: a pattern takes six times as long."""

_OPEN: dict[Any, TypeAdapter[Any]] = {}
_CLOSED: dict[Any, TypeAdapter[Any]] = {}


def adapter(kind: Any) -> TypeAdapter[Any]:
    """The open pydantic adapter of a dataclass, for history; built once."""
    known = _OPEN.get(kind)
    if known is None:
        known = _OPEN[kind] = TypeAdapter(kind)
    return known


def closed_adapter(kind: Any) -> TypeAdapter[Any]:
    """The adapter that refuses unknown fields and wrong types, also in the dataclasses within, and writes; built once."""
    known = _CLOSED.get(kind)
    if known is None:
        # pydantic takes a config for anything but a dataclass itself and passes it on to plain dataclasses below
        closed = NewType("closed", kind)  # type: ignore[valid-newtype]  # the class is known at run time only
        known = _CLOSED[kind] = TypeAdapter(cast(Any, closed), config=CLOSED)
    return known


def to_json(value: object) -> bytes:
    """The JSON object of a command's or event's dataclass. Raises `Invalid` for text and numbers that cannot be stored."""
    writer = closed_adapter(type(value)).serializer
    try:
        written: bytes = writer.to_json(value)
    except ValueError:  # a lone surrogate in a value, or a number that is beyond JSON altogether
        _refuse_unstorable(value, writer)
        raise
    if _looks_unstorable(written):
        _refuse_unstorable(value, writer)
    return written


def _looks_unstorable(written: bytes) -> bool:
    """Whether a value has to be looked through: its JSON, which is scanned far faster, shows a sign of what cannot be stored."""
    return (
        b"\\u0000" in written
        or b"NaN" in written
        or b"Infinity" in written
        or (not written.isascii() and _REPLACED in written)
        or _LONG_NUMBER in written.translate(_DIGITS_ALIKE)
    )


def _refuse_unstorable(value: object, writer: SchemaSerializer) -> None:
    plain = writer.to_python(value)
    if refused := refusal(plain):
        raise refused


def from_json(kind: type[T], payload: bytes) -> T:
    """The command written in `payload`. Raises `Invalid` naming the fields at fault."""
    try:
        value: T = closed_adapter(kind).validator.validate_json(payload)
    except ValidationError as error:
        raise Invalid(*field_errors(error, kind)) from None
    return value


def field_errors(error: ValidationError, kind: Any = Any) -> tuple[FieldError, ...]:
    """pydantic's complaints about a `kind` as ours: dotted paths and messages, never the input (it may be a secret).

    pydantic tries every branch of a union and complains about each under the branch's name. Here the names are left out, and so
    are the complaints of branches whose `kind` says that another was meant.
    """
    complaints = [_placed(c, kind) for c in error.errors(include_input=False, include_url=False, include_context=False)]
    not_meant = {c.loc[:-1] for c in complaints if c.denies_branch}
    meant = {branch[:-1] for c in complaints for branch in c.branches if branch not in not_meant}
    kept: dict[FieldError, None] = {}
    for complaint in complaints:
        denied = [branch for branch in complaint.branches if branch in not_meant]
        if not denied or (complaint.denies_branch and denied[-1][:-1] not in meant):
            kept[FieldError(complaint.path, complaint.message)] = None
    return tuple(kept)


@dataclass(frozen=True, slots=True)
class _Complaint:
    """One complaint: where pydantic found it, which parts of that are branches of unions (as prefixes), and our path to it."""

    loc: tuple[int | str, ...]
    branches: tuple[tuple[int | str, ...], ...]
    path: str
    message: str
    denies_branch: bool


def _placed(complaint: ErrorDetails, kind: Any) -> _Complaint:
    loc = complaint["loc"]
    path: list[str] = []
    branches: list[tuple[int | str, ...]] = []
    for index, part in enumerate(loc):
        choices = _branches(kind)
        if len(choices) > 1:
            branches.append(loc[: index + 1])
            kind = next((choice for choice in choices if getattr(choice, "__name__", str(choice)) == part), Any)
        elif part != "[key]":
            path.append(str(part))
            kind = _inner(choices[0], part)
    denies = complaint["type"] == "literal_error" and loc[-1:] == ("kind",) and loc[:-1] in branches
    return _Complaint(loc, tuple(branches), ".".join(path), complaint["msg"], denies)


def _branches(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) in (Union, UnionType):
        return tuple(branch for branch in get_args(kind) if branch is not NoneType)
    return (kind,)


def _inner(kind: Any, part: int | str) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        return get_type_hints(kind).get(str(part), Any)
    inside = [argument for argument in get_args(kind) if argument is not Ellipsis]
    return inside[-1] if inside else Any

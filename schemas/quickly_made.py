"""How is a frozen dataclass made without paying field by field for its being frozen?

A frozen dataclass sets each field through `object.__setattr__`, which is most of the time that an envelope of fifteen fields
takes to make. Here a new object is of a class of the same layout that is not frozen while its fields are set, and of its own,
frozen one from then on. Whoever is given it cannot tell the difference.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

T = TypeVar("T")

_GIVEN = "_given_"
"""Begins the names that the text of a constructor takes from outside: no field has one of them."""


def quickly_made(kind: type[T]) -> type[T]:
    """Give a frozen dataclass a constructor that does the same and is faster.

    Raises TypeError where it would not do the same: for a class that is not frozen, has no slots or a base of its own, or whose
    constructor does more than set given or constant fields. Such a class has no subclasses: they would become it.
    """
    own = fields(kind)  # type: ignore[arg-type]  # raises TypeError for what is no dataclass
    set_plainly = all(f.default_factory is MISSING and (f.init or f.default is not MISSING) for f in own)
    is_plain = kind.__bases__ == (object,) and vars(kind).get("__slots__") == tuple(field.name for field in own)
    if not (is_plain and set_plainly) or hasattr(kind, "__post_init__") or not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise TypeError(f"{kind.__name__} is no frozen dataclass with slots whose constructor sets given or constant fields only")
    filled = type(kind.__name__, (), {"__slots__": vars(kind)["__slots__"]})
    outside = {"thaw": vars(object)["__class__"].__set__, "filled": filled, "kind": kind}
    outside |= {field.name: field.default for field in own if field.default is not MISSING}
    kind.__init__ = _constructor(own, outside)  # type: ignore[method-assign]  # it takes what the one before took
    return kind


def _constructor(own: tuple[Field[Any], ...], outside: dict[str, Any]) -> Callable[..., None]:
    in_order = [_parameter(field) for field in own if field.init and not field.kw_only]
    by_name = [_parameter(field) for field in own if field.init and field.kw_only]
    lines = [
        f"def __init__({', '.join(['self', *in_order, *(['*', *by_name] if by_name else [])])}):",
        f" {_GIVEN}thaw(self, {_GIVEN}filled)",
        *(f" self.{field.name} = {field.name if field.init else _GIVEN + field.name}" for field in own),
        f" self.__class__ = {_GIVEN}kind",
    ]
    names: dict[str, Any] = {_GIVEN + name: value for name, value in outside.items()}
    exec("\n".join(lines), names)  # as dataclasses themselves are made: the text holds names of fields, no values
    constructor: Callable[..., None] = names["__init__"]
    return constructor


def _parameter(field: Field[Any]) -> str:
    return field.name if field.default is MISSING else f"{field.name}={_GIVEN}{field.name}"

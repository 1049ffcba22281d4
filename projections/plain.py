"""How does a value of the domain stand in a JSON column?"""

from typing import Any

from schemas.payload import adapter


def plain(kind: Any, value: object) -> Any:
    """A value of the dataclass or type `kind` as JSON objects, lists and scalars, as its event's payload writes it."""
    return adapter(kind).dump_python(value, mode="json")

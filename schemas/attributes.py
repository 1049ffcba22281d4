"""How do an event's and a command's ids, times and actors read, in the log's headers and under an event's hash?

orjson writes ids and times as Python's own `str` and `isoformat` do, in a third of the time, and pydantic makes ids in a
quarter of it; every record has several of them.
"""

from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.actor import Actor

_read_id = TypeAdapter(UUID).validator.validate_python


def id_bytes(identifier: UUID) -> bytes:
    """An id in its usual form: five groups of lower-case hexadecimal digits."""
    return orjson.dumps(identifier)[1:-1]


def id_from(text: str) -> UUID:
    """The id written so, in any form that Python's own `UUID` takes; it takes some that pydantic does not."""
    try:
        read: UUID = _read_id(text)
    except ValidationError:
        return UUID(text)
    return read


def id_of(number: int) -> UUID:
    """The id that is this number of 128 bits."""
    made: UUID = _read_id(number.to_bytes(16, "big"))
    return made


def time_bytes(time: datetime) -> bytes:
    """A time as `isoformat` writes it."""
    if time.tzinfo is UTC:
        return orjson.dumps(time)[1:-1]
    return time.isoformat().encode()  # orjson knows not every zone, and no seconds in an offset


def actor_bytes(actor: Actor) -> bytes:
    """An actor as `kind:name`."""
    return f"{actor.kind}:{actor.name}".encode()


@lru_cache(maxsize=1024)
def actor_from(raw: bytes) -> Actor:
    """The actor written as `kind:name`."""
    kind, _, name = raw.decode().partition(":")
    return Actor(kind, name)  # type: ignore[arg-type]  # history is not re-validated

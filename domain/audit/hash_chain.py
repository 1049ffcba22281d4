"""How is an event bound to everything before it?

Each event partition is a chain: an event's hash covers the hash of the event before it and every field of its own, as they
are stored. Fields are length-prefixed (netstrings), so no two different events share a pre-image. The offset is not hashed:
a log that is copied keeps its proofs.
"""

import hashlib
from collections.abc import Sequence

GENESIS = "0" * 64
"""The previous hash of a chain's first event."""

_DOMAIN = b"opsconductor.event.v1\n"


def chained_hash(previous: str, fields: Sequence[bytes]) -> str:
    """The SHA-256 (hex) of one event: `previous` is the hash before it, `fields` its stored fields in their fixed order."""
    prefixed: list[int | bytes] = []
    for field in fields:
        prefixed.append(len(field))
        prefixed.append(field)
    netstrings = b"%d:%b," * len(fields) % tuple(prefixed)  # all at once: a fifth faster than one by one
    return hashlib.sha256(_DOMAIN + previous.encode() + netstrings).hexdigest()

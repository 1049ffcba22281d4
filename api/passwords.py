"""Is this the user's password? Argon2id; an unknown user costs the same time and gets the same answer as a wrong password.

Keyboards write the same letter in several ways, so a password counts in Unicode's form C (as in RFC 8265, OpaqueString).
"""

import unicodedata

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH, MAX_LENGTH = 8, 1_000
"""What a new password must at least and may at most have, in characters."""

_HASHER = PasswordHasher(time_cost=3, memory_cost=19_456, parallelism=1, type=Type.ID)

_NOBODYS = "$argon2id$v=19$m=19456,t=3,p=1$b3BzY29uZHVjdG9yLW5vYm9keQ$cHnJ5B64iUpTPpvdfvGVKdkShIy8Xhs0i1p8ZN2m3Fc"
"""A hash of the same cost that no known password has."""


def hashed(password: str, salt: bytes) -> bytes:
    """What is kept of a password. Blocks for tens of milliseconds."""
    return _HASHER.hash(_composed(password), salt=salt).encode()


def matches(kept: bytes | None, password: str) -> bool:
    """Whether `password` is the one `kept` was made of; always False, after the same time, when nothing is kept. Blocks."""
    try:
        right = _HASHER.verify(kept.decode() if kept is not None else _NOBODYS, _composed(password))
    except (VerificationError, InvalidHashError):
        return False
    return right and kept is not None


def _composed(password: str) -> str:
    return unicodedata.normalize("NFC", password)

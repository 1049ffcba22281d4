"""Where do time, ids and randomness come from? From here, and only from here, they are passed in."""

import os
import time
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """The time of day, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()


class SystemIds:
    """What nobody can guess or repeat."""

    def new_id(self) -> UUID:
        """A fresh UUIDv7."""
        return UUID(int=uuid7().int)

    def random_bytes(self, count: int) -> bytes:
        """That many unpredictable bytes."""
        return os.urandom(count)

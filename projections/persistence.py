"""What is done while the database cannot be had? The whole transaction again, with longer and longer pauses, for ever.

After a few failures the follower says that it is not ready, and why; it goes on by itself when the database is back.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from projections.read_store import ReadStore, StoreUnavailable

T = TypeVar("T")

_PATIENCE = 3
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0


class Persistent:
    """A read store whose `transact` does not give up; `trouble` says what stands in its way, once it has failed a few times."""

    def __init__(self, store: ReadStore) -> None:
        self._store = store
        self.trouble: str | None = None

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction, again until the database lets it be. Raises what `work` raises and `StoreRefused`."""
        failures = 0
        while True:
            try:
                result = await self._store.transact(work)
            except StoreUnavailable as error:
                failures += 1
                if failures >= _PATIENCE:
                    self.trouble = f"the database cannot be had: {error}"
                await asyncio.sleep(min(_FIRST_PAUSE_S * 2**failures, _LONGEST_PAUSE_S))
            else:
                self.trouble = None
                return result

    async def try_once(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction, once; raises `StoreUnavailable` as well."""
        return await self._store.transact(work)

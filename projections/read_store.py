"""What must the database do for the projections? Run one piece of work in one transaction, in a thread of its own.

StoreUnavailable   nothing is known to be written; the same work may be tried again (it finds out whether it was)
StoreRefused       the database will not take this data, however often it is tried; nothing was written
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")


class StoreUnavailable(Exception):
    """The connection was lost, a lock was not to be had, or the database is down or busy: try again."""


class StoreRefused(Exception):
    """The database refuses the statement or its data: trying again is of no use."""


class ReadStore(Protocol):
    """The writing side of the read models; one transaction at a time."""

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction and commit it; whatever `work` raises rolls everything back and is raised again.

        Errors of the database are raised as `StoreUnavailable` or `StoreRefused`, within a stated bound. After
        `StoreUnavailable` the transaction may have been committed nevertheless, so work checks the positions it starts from.
        """
        ...

    async def close(self) -> None:
        """Let the database go, once the transaction under way has ended."""
        ...

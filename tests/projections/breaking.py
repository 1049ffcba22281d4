"""A read store that dies, or is cut off, at a moment of the test's choice."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, event

from infra.sql.read_store import SqlReadStore
from projections.read_store import StoreUnavailable


class Killed(BaseException):
    """The process is gone."""


class DyingStore:
    """Dies before the statement of this number, counted over its whole life (`statement`), or after a commit (`commit`)."""

    def __init__(self, engine: Engine, statement: int = 0, commit: int = 0) -> None:
        self._store = SqlReadStore(engine)
        self._engine = engine
        self._statements, self._commits = statement, commit
        event.listen(engine, "before_cursor_execute", self._count)

    def _count(self, *_: Any) -> None:
        self._statements -= 1
        if self._statements == 0:
            raise Killed

    async def transact(self, work: Callable[[Connection], Any]) -> Any:
        result = await self._store.transact(work)
        self._commits -= 1
        if self._commits == 0:
            raise Killed
        return result

    async def close(self) -> None:
        event.remove(self._engine, "before_cursor_execute", self._count)
        await self._store.close()


class FlakyStore:
    """Every third transaction fails: by turns without having begun, and after it was committed."""

    def __init__(self, engine: Engine) -> None:
        self._store = SqlReadStore(engine)
        self._calls = 0
        self.down = False

    async def transact(self, work: Callable[[Connection], Any]) -> Any:
        self._calls += 1
        if self.down or self._calls % 6 == 3:
            raise StoreUnavailable("cut off before")
        result = await self._store.transact(work)
        if self._calls % 6 == 0:
            raise StoreUnavailable("cut off after")
        return result

    async def close(self) -> None:
        await self._store.close()

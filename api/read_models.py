"""How are the read models asked without holding up everybody else? In bounded threads, within a bound of time."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from api.problem_details import Problem

T = TypeVar("T")

log = logging.getLogger(__name__)


class ReadModels:
    """Asks questions of the read models; each sees one snapshot. At most `at_once` are under way, the others wait in line."""

    def __init__(self, engine: Engine, threads: Executor, within_s: float, at_once: int = 8) -> None:
        self._engine, self._threads, self._within_s = engine, threads, within_s
        self._room = asyncio.Semaphore(at_once)

    async def ask(self, question: Callable[[Connection], T]) -> T:
        """The answer to `question`. Raises `Problem` (503) when it does not come in time or the database cannot be asked."""
        try:
            async with asyncio.timeout(self._within_s):
                await self._room.acquire()
                asked = asyncio.get_running_loop().run_in_executor(self._threads, self._answer, question)
                # Given up or not, the thread is busy until the database lets it go.
                asked.add_done_callback(lambda _: self._room.release())
                return await asyncio.shield(asked)
        except (SQLAlchemyError, TimeoutError) as error:
            log.warning("read models not asked: %s", type(error).__name__)
            raise Problem("read_models_unavailable") from None

    def _answer(self, question: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection:
            return question(connection)

"""How do calls get to a thread of their own, and their answers back?

All that are made in one turn of the loop go over together, and so do their answers. An owner asks the stores of all its shards at
once, for every batch; one by one the ways there and back took longer than what was looked up.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_Call = tuple[Callable[[], Any], asyncio.Future[Any]]
_Ended = tuple[asyncio.Future[Any], Any, BaseException | None]


class OneThread:
    """Runs calls one after the other, in the order they were made; one whose caller was cancelled runs in its turn, too."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._calls: list[_Call] = []

    async def run(self, call: Callable[[], T]) -> T:
        """What the call returns or raises on the thread."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._calls.append((call, answer))
        if len(self._calls) == 1:
            loop.call_soon(self._hand_over, loop)
        return await answer

    async def close(self) -> None:
        """End the thread once it has nothing to do."""
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        calls, self._calls = self._calls, []
        try:
            self._thread.submit(_run, calls, loop)
        except RuntimeError as closed:
            _tell([(answer, None, closed) for _, answer in calls])


def _run(calls: Sequence[_Call], loop: asyncio.AbstractEventLoop) -> None:
    ended = [(answer, *_end(call)) for call, answer in calls]
    if not loop.is_closed():
        loop.call_soon_threadsafe(_tell, ended)


def _end(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return call(), None
    except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the one who awaits the answer
        return None, error


def _tell(ended: Sequence[_Ended]) -> None:
    for answer, result, failure in ended:
        if answer.done():
            continue  # its caller was cancelled
        if failure is None:
            answer.set_result(result)
        else:
            answer.set_exception(failure)

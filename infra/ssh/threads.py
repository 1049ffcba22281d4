"""Where does blocking work run? In a bounded number of daemon threads, started on demand, that never hold the process up.

The way back into the event loop is taken once for all whose work has ended meanwhile: each way costs a system call and a turn of
the loop, and of a hundred steps many end within a moment.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any


class Work:
    """One piece of work in line or under way; `result` is a future of the event loop that submitted it."""

    def __init__(self, do: Callable[[], object], result: "asyncio.Future[Any]") -> None:
        self.result = result
        self._work = do
        self._lock = threading.Lock()
        self._begun = self._cancelled = False

    def cancel(self) -> bool:
        """Whether it will never begin; False once it has."""
        with self._lock:
            self._cancelled = not self._begun
            return self._cancelled

    def do(self) -> Callable[[], None] | None:
        """Do it, unless it is cancelled; gives what the event loop has to call then."""
        with self._lock:
            if self._cancelled:
                return None
            self._begun = True
        try:
            return partial(self._bring, self._work(), None)
        except StopIteration:  # no future takes one
            return partial(self._bring, None, RuntimeError("work raised StopIteration"))
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the result
            return partial(self._bring, None, error)

    def _bring(self, value: object, error: BaseException | None) -> None:
        if self.result.done():
            return  # nobody waits any more
        if error is not None:
            self.result.set_exception(error)
        else:
            self.result.set_result(value)


class Threads:
    """At most `most` threads; work beyond that waits in line. `close` lets each thread end after the work it is at.

    Belongs to one event loop.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._jobs: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._ended: list[Callable[[], None]] = []

    def submit(self, do: Callable[[], object]) -> Work:
        """Run `do` as soon as a thread is free. It can be cancelled as long as it has not begun."""
        work = Work(do, asyncio.get_running_loop().create_future())
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            elif len(self._threads) < self._most:
                thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
            else:
                self._idle -= 1
            self._jobs.put(work)
        return work

    def close(self, within_s: float) -> None:
        """Tell every thread to end and wait for them, no longer than `within_s` in all."""
        with self._lock:
            threads = list(self._threads)
            for _ in threads:
                self._jobs.put(None)
        share = within_s / max(1, len(threads))
        for thread in threads:
            thread.join(share if thread.is_alive() else 0)

    def _work(self) -> None:
        while True:
            work = self._jobs.get()
            if work is None:
                return
            told = work.do()
            if told is not None:
                self._tell(work.result.get_loop(), told)
            del work, told
            with self._lock:
                self._idle += 1

    def _tell(self, loop: asyncio.AbstractEventLoop, told: Callable[[], None]) -> None:
        with self._lock:
            self._ended.append(told)
            if len(self._ended) > 1:
                return  # somebody's way into the loop has not been gone to its end yet
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._tell_all)

    def _tell_all(self) -> None:
        with self._lock:
            ended, self._ended = self._ended, []
        for told in ended:
            told()

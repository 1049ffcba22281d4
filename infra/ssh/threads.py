"""Where does blocking work run? In a bounded number of daemon threads, started on demand, that never hold the process up."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")
_Job = Callable[[], None]


class Threads:
    """At most `most` threads; work beyond that waits in line. `close` lets each thread end after the work it is at."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._idle = 0

    def submit(self, work: Callable[[], _T]) -> "Future[_T]":
        """Run `work` as soon as a thread is free. The future can be cancelled as long as it has not begun."""
        future: Future[_T] = Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the future
                future.set_exception(error)

        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            elif len(self._threads) < self._most:
                thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
            else:
                self._idle -= 1
            self._jobs.put(job)
        return future

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
            job = self._jobs.get()
            if job is None:
                return
            job()
            del job
            with self._lock:
                self._idle += 1

"""How many may log in to one host at the same time? Few, since a server refuses the log-ins beyond its MaxStartups."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from processors.executor.connector import Unreachable


class Gates:
    """One bounded gate a host, kept only as long as somebody is in it or waits for it."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._lock = threading.Lock()
        self._gates: dict[tuple[str, int], tuple[threading.Semaphore, int]] = {}

    @contextmanager
    def of(self, host: tuple[str, int], deadline: float) -> Iterator[None]:
        """Hold a place at `host`. Raises `Unreachable` (too_many_connections) when none is free by `deadline` (monotonic)."""
        gate = self._entered(host)
        try:
            if not gate.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise Unreachable("too_many_connections", "has too many log-ins under way")
            try:
                yield
            finally:
                gate.release()
        finally:
            self._left(host)

    def _entered(self, host: tuple[str, int]) -> threading.Semaphore:
        with self._lock:
            gate, users = self._gates.get(host, (threading.Semaphore(self._width), 0))
            self._gates[host] = (gate, users + 1)
            return gate

    def _left(self, host: tuple[str, int]) -> None:
        with self._lock:
            gate, users = self._gates[host]
            if users == 1:
                del self._gates[host]
            else:
                self._gates[host] = (gate, users - 1)

"""Long runs that mostly wait are lived through beside the other tests, one after the other, in a process of their own."""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

Run = Callable[[], Any]


class Beside:
    """A process that begins at once with the first of these runs; each is a function of a module, its result can be pickled."""

    def __init__(self, runs: Mapping[str, Run]) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe(duplex=False)
        self._process = context.Process(target=_live_through, args=(there, dict(runs)), daemon=True)
        self._process.start()
        there.close()
        self._results: dict[str, Any] = {}

    def result(self, name: str, within_s: float) -> Any:
        """What the run of this name came to. Raises what it raised, `EOFError` when its process is gone, `TimeoutError`."""
        deadline = time.monotonic() + within_s
        while name not in self._results:
            if not self._here.poll(max(0.0, deadline - time.monotonic())):
                raise TimeoutError(f"{name} has not ended within {within_s:g} s")
            told, result = self._here.recv()
            self._results[told] = result
        if isinstance(result := self._results[name], BaseException):
            raise result
        return result

    def end(self) -> None:
        """Kill what still runs; services that it started are tied to it and end, too."""
        self._process.kill()
        self._process.join()


def _live_through(there: Connection, runs: Mapping[str, Run]) -> None:
    for name, run in runs.items():
        try:
            result = run()
        except Exception as error:  # whoever asks for the result gets it
            result = error
        there.send((name, result))

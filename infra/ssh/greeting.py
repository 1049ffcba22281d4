"""Has the step begun, and where does its own output begin? It greets once, before the script's first line."""

import re

from infra.ssh.confirmation import Traces
from infra.ssh.remote import GREETING

_MOST_NOISE = 65536


class Greeting:
    """Finds the greeting in stdout; everything before it was written by the log-in shell's start-up files."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._pattern = re.compile(re.escape(GREETING + mark.encode()) + rb": ([0-9]+) ([0-9]+)\n")
        self.noise = b""
        self.traces: Traces | None = None

    def strip(self, data: bytes) -> bytes:
        """What of `data` is the step's own."""
        if self.traces is not None:
            return data
        self.noise += data
        found = self._pattern.search(self.noise)
        if found is None:
            self.noise = self.noise[-_MOST_NOISE:]
            return b""
        self.traces = Traces(self._mark, int(found[1]), int(found[2]))
        own = self.noise[found.end() :]
        self.noise = b""
        return own

"""Has the step begun, and where does its own output begin? It greets once, before the script's first line."""

import re

from infra.ssh.confirmation import Traces
from infra.ssh.remote import GREETING

_MOST_NOISE = 65536
_PATTERN = re.compile(re.escape(GREETING) + rb"([A-Za-z0-9_.@%+=,/-]+): ([0-9]+) ([0-9]+)\n")
"""A greeting with any step's mark. One pattern for all: to make one takes longer than everything else that is done for a step."""


class Greeting:
    """Finds the greeting in stdout; everything before it was written by the log-in shell's start-up files."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self.noise = b""
        self.traces: Traces | None = None

    def strip(self, data: bytes) -> bytes:
        """What of `data` is the step's own."""
        if self.traces is not None:
            return data
        self.noise += data
        found = next((greeting for greeting in _PATTERN.finditer(self.noise) if greeting[1] == self._mark.encode()), None)
        if found is None:
            self.noise = self.noise[-_MOST_NOISE:]
            return b""
        self.traces = Traces(self._mark, int(found[2]), int(found[3]))
        own = self.noise[found.end() :]
        self.noise = b""
        return own

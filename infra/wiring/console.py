"""Who reads what a process says beside its log? Whoever started it, at a terminal; or anybody, where it is kept."""

import contextlib
import sys


class Console:
    """Standard error."""

    def say(self, message: str) -> None:
        """Say what everybody may read; nothing where nobody can any more, as when the terminal was closed."""
        with contextlib.suppress(OSError):
            sys.stderr.write(message + "\n")

    def show(self, secret: str) -> None:
        """Say what only who sits there may read: nothing where nobody does."""
        if sys.stderr.isatty():
            self.say(secret)

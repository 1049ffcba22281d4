"""Who reads what a process says beside its log? Whoever started it, at a terminal; or anybody, where it is kept."""

import sys


class Console:
    """Standard error."""

    def say(self, message: str) -> None:
        """Say what everybody may read."""
        sys.stderr.write(message + "\n")

    def show(self, secret: str) -> None:
        """Say what only who sits there may read: nothing where nobody does."""
        if sys.stderr.isatty():
            self.say(secret)

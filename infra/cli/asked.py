"""What is somebody asked for who sits at a terminal, and what is said where nobody does?"""

import os
import sys
from contextlib import suppress

import typer


class NobodyToAsk(Exception):
    """There is no terminal; the message says what would have been asked for and how it is given instead."""


def hidden(what: str, *, instead: str = "", twice: bool = False) -> str:
    """What is typed, without an echo. Raises `NobodyToAsk`."""
    at_terminal(what, instead=instead)
    return str(typer.prompt(what, hide_input=True, confirmation_prompt=twice, err=True))


def at_terminal(what: str, *, instead: str = "") -> None:
    """Go on only where this can be asked for without an echo. Raises `NobodyToAsk`."""
    if (sys.stdin is None or not sys.stdin.isatty()) and not _has_terminal():
        or_else = f": give it with {instead}" if instead else ""
        raise NobodyToAsk(f"there is no terminal to ask for the {what.lower()} at{or_else}")


def _has_terminal() -> bool:
    """Whether the process has one, wherever its standard input comes from."""
    with suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        return True
    return False

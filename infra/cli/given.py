"""What stands in a file that was named on the command line, or comes on standard input?"""

import sys
from pathlib import Path

MAX_BYTES = 1_048_576


class BadFile(Exception):
    """The file cannot be used; the message is a line that says which and why, and nothing of what is in it."""


def content(path: Path) -> bytes:
    """All of a file, or of standard input where it is called `-`. Raises `BadFile` also when that is more than `MAX_BYTES`."""
    try:
        if str(path) == "-":
            raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with path.open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # a name with U+0000 in it is a ValueError
        raise BadFile(f"{path}: {getattr(error, 'strerror', None) or 'cannot be read'}") from None
    if len(raw) > MAX_BYTES:
        raise BadFile(f"{path} is larger than {MAX_BYTES} bytes")
    return raw


def text(path: Path) -> str:
    """The same as text. Raises `BadFile` when it is not UTF-8."""
    try:
        return content(path).decode()
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8 (byte {error.start + 1})") from None

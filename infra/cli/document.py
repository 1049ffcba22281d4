"""What does a job file say? YAML or JSON, read with a bound on everything (HAZARDS §4 case 37)."""

from pathlib import Path
from typing import Any

MAX_BYTES = 1_048_576


class BadDocument(Exception):
    """The file is not a document we read; the message says where."""


def read(path: Path) -> Any:
    """The document in a file (`-` is standard input). Raises `BadDocument`."""
    try:
        raw = Path("/dev/stdin").read_bytes() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise BadDocument(f"{path}: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise BadDocument(f"{path} is larger than {MAX_BYTES} bytes")
    from infra.cli.strict_yaml import YAMLError, loaded  # few commands read a file, and it takes a while to load

    try:
        return loaded(raw.decode())
    except (YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BadDocument(f"{path}: {error}") from error

"""Which files are ours? Those that git knows."""

import subprocess
from pathlib import Path

TOP = Path(__file__).parent.parent.parent
PACKAGES = ("domain", "schemas", "commands", "projections", "processors", "api", "infra")


def known(*patterns: str) -> list[Path]:
    """The tracked files that match, as absolute paths; every one still exists."""
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=TOP, capture_output=True, check=True, timeout=60).stdout
    return [TOP / name for name in listed.decode().split("\0") if name and (TOP / name).is_file()]


def code() -> list[Path]:
    """Every Python file."""
    return known("*.py")


def product() -> list[Path]:
    """The Python files that are shipped."""
    return [file for file in code() if file.relative_to(TOP).parts[0] in PACKAGES]


def named(file: Path) -> str:
    """A file's path as a reader knows it."""
    return str(file.relative_to(TOP))

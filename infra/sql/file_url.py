"""How is a file of SQLite written as an address, whatever its path looks like?"""

from pathlib import Path
from urllib.parse import quote


def sqlite_url(file: Path) -> str:
    """The address of a file; what would mean something in a URL is escaped, as SQLAlchemy 2.1 reads it."""
    return f"sqlite:///{quote(str(file))}"

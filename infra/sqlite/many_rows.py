"""How are many rows inserted with few statements? Python's SQLite gives up the interpreter several times for each that it runs,
and `executemany` runs one a row.
"""

import sqlite3
from collections.abc import Sequence

ROWS_AT_ONCE = 50
"""As many different statements a table are kept ready by their connection."""


def insert_rows(connection: sqlite3.Connection, into: str, rows: Sequence[Sequence[object]]) -> None:
    """Insert all rows, which are equally long; `into` is the statement up to `VALUES`. Raises `sqlite3.Error`."""
    for at in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[at : at + ROWS_AT_ONCE]
        places = f"({', '.join('?' * len(some[0]))})"
        connection.execute(f"{into} {', '.join([places] * len(some))}", [value for row in some for value in row])

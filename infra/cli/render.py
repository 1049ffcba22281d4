"""How is an answer shown? As a table on a terminal, as plain tab-separated lines in a pipe, as JSON with `-o json`."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_WHOLE = {"id", "name", "stream", "correlation_id", "session", "token", "kid"}
"""Columns of what is copied from a terminal to be typed again: never folded, and nothing is ever cropped."""
_FOLDED, _GAP = 10, 2
"""How narrow another column may get in favour of them, and what is between two columns."""

_ESCAPES = re.compile(
    r"\x1b\[[0-9;]*m"  # colours stay
    r"|(\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_a-z0-9=>]?)"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f])"
)


def harmless(text: str) -> str:
    """`text` without what could drive the terminal (titles, clipboard, links, cursor): only colours are left."""
    return _ESCAPES.sub(lambda match: "" if match[1] is not None else match[0], text)


class Renderer:
    """Writes answers to standard output in the chosen form."""

    def __init__(self, form: str) -> None:
        self.form = form
        self.on_terminal = sys.stdout.isatty()

    @cached_property
    def console(self) -> "Console":
        """The terminal; what draws on it takes a while to load, and a pipe does without."""
        from rich.console import Console

        return Console(highlight=False)

    def one(self, item: dict[str, Any]) -> None:
        """Show one thing, a line a field."""
        if self.form == "json":
            self._json(item)
            return
        if self.on_terminal:
            self._record(item)
            return
        for key, value in item.items():
            self._line([key, _text(value)])

    def many(self, items: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
        """Show a list by these columns (dotted paths); as JSON, an item a line."""
        if self.form == "json":
            for item in items:
                sys.stdout.write(json.dumps(item, ensure_ascii=False) + "\n")
            return
        if self.on_terminal:
            self._table([[_shown(_at(item, column)) for column in columns] for item in items], columns)
            return
        for item in items:
            self._line([_text(_at(item, column)) for column in columns])

    def _table(self, rows: Sequence[Sequence[str]], columns: Sequence[str]) -> None:
        """Draw a table, or where that is too narrow to read for those columns, each row as a record of its own."""
        from rich.cells import cell_len
        from rich.table import Column, Table
        from rich.text import Text

        cells = [[Text(harmless(cell)) for cell in row] for row in rows]
        wide = [max([cell_len(name), *(row[n].cell_len for row in cells)]) for n, name in enumerate(columns)]
        least = [width if name in _WHOLE else min(width, _FOLDED) for name, width in zip(columns, wide, strict=True)]
        if cells and sum(least) + _GAP * (len(columns) - 1) > self.console.width:
            for number, row in enumerate(rows):
                self._record(dict(zip(columns, row, strict=True)), apart=number > 0)
            return
        heads = [Column(name, overflow="fold", no_wrap=name in _WHOLE) for name in columns]
        table = Table(*heads, box=None, header_style="bold", pad_edge=False)
        for texts in cells:
            table.add_row(*texts)
        self.console.print(table)

    def _record(self, item: dict[str, Any], *, apart: bool = False) -> None:
        """One thing on a terminal: its fields below each other, the values aligned."""
        if apart:
            sys.stdout.write("\n")
        width = max(map(len, item), default=0)
        for key, value in item.items():
            self._line([f"{key:<{width}}  {_shown(value)}".rstrip()])

    def heading(self, columns: Sequence[str]) -> None:
        """Name the columns of the list that follows also in a pipe: for lists that cannot be read without."""
        if self.form != "json" and not self.on_terminal:
            self._line(columns)

    def note(self, message: str) -> None:
        """A remark for people, on standard error."""
        sys.stderr.write(harmless(message) + "\n")

    def _json(self, item: Any) -> None:
        sys.stdout.write(json.dumps(item, ensure_ascii=False, indent=2 if self.on_terminal else None) + "\n")

    def _line(self, cells: Sequence[str]) -> None:
        shown = (harmless(cell) for cell in cells) if self.on_terminal else cells
        sys.stdout.write("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in shown) + "\n")


def _at(item: Any, path: str) -> Any:
    for part in path.split("."):
        item = item.get(part) if isinstance(item, dict) else None
    return item


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict) and all(isinstance(v, str | int) for v in value.values()):
        return ",".join(f"{k}={v}" for k, v in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shown(value: Any) -> str:
    """The same on a terminal, without counts of nothing."""
    if isinstance(value, dict) and value and all(type(count) is int for count in value.values()):
        value = {key: count for key, count in value.items() if count} or {"total": 0}
    return _text(value)

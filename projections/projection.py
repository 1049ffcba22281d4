"""What is a projection? One of three shapes only, so that a rebuild equals the live tables whatever the interleaving of streams.

    RowPerStream   a stream's rows are a fold of that stream's events; it sees rows of its own stream, nothing else
    RowPerEvent    every record makes rows of its own
    Tally          every record adds whole numbers to counters

Each turns a batch of facts into few statements. Nothing is looked up while projecting except a stream's own rows.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from sqlalchemy import Connection, Table

from projections.bulk import Key, Row, add_to_rows, insert_rows, key_columns
from projections.fact import Fact
from projections.own_rows import OwnRows

Tables = Mapping[str, Table]
"""The tables to write, by their live names: those themselves, or the next generation beside them."""


@dataclass(frozen=True, slots=True)
class RowPerStream:
    """`fold` changes the stream's own rows for one event; `touches` names the keys (or their beginnings) it will get."""

    table: Table
    touches: Callable[[Fact], Iterable[Key]]
    fold: Callable[[OwnRows, Fact], None]

    def write(self, connection: Connection, tables: Tables, facts: Sequence[Fact]) -> None:
        """Bring the rows of these facts' streams up to date."""
        own = OwnRows(tables[self.table.name])
        own.load(connection, (key for fact in facts for key in self.touches(fact)))
        for fact in facts:
            self.fold(own, fact)
        own.write(connection)


@dataclass(frozen=True, slots=True)
class RowPerEvent:
    """`rows` of one record. A key seen before is an error (`refuse`), or the same record come twice (`keep first`)."""

    table: Table
    rows: Callable[[Fact], Iterable[Row]]
    repeated: Literal["refuse", "keep first"]

    def write(self, connection: Connection, tables: Tables, facts: Sequence[Fact]) -> None:
        """Add these facts' rows."""
        rows = [row for fact in facts for row in self.rows(fact)]
        insert_rows(connection, tables[self.table.name], rows, self.repeated == "keep first")


@dataclass(frozen=True, slots=True)
class Tally:
    """`deltas` of one event: the key of a counter row and what to add to each of its numbers."""

    table: Table
    deltas: Callable[[Fact], Iterable[tuple[Key, Mapping[str, int]]]]

    def write(self, connection: Connection, tables: Tables, facts: Sequence[Fact]) -> None:
        """Add up these facts' deltas and then add them to the rows."""
        sums: dict[Key, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for fact in facts:
            for key, delta in self.deltas(fact):
                for name, number in delta.items():
                    sums[key][name] += number
        names = key_columns(self.table)
        rows = [{**dict(zip(names, key, strict=True)), **sums[key]} for key in sorted(sums)]
        add_to_rows(connection, tables[self.table.name], rows)


Shape = RowPerStream | RowPerEvent | Tally


@dataclass(frozen=True, slots=True)
class Projection:
    """A read model: the topics it reads and the tables it makes of them.

    `revision` is raised whenever changed code would make other rows of the same events; then, as when a table changes, the
    read model is rebuilt by itself.
    """

    name: str
    topics: tuple[str, ...]
    shapes: tuple[Shape, ...]
    revision: int

    @property
    def tables(self) -> tuple[Table, ...]:
        """The live tables."""
        return tuple(shape.table for shape in self.shapes)

    @property
    def fingerprint(self) -> str:
        """What the tables look like and which revision of the code fills them, as one word."""
        return _fingerprint(self.revision, self.tables)


@lru_cache(maxsize=64)
def _fingerprint(revision: int, tables: tuple[Table, ...]) -> str:
    said = [f"revision {revision}"]
    for table in tables:
        said += [f"{table.name}.{c.name} {c.type!r} {c.nullable} {c.primary_key}" for c in table.columns]
        said += sorted(f"{i.name} {i.unique} {[c.name for c in i.columns]}" for i in table.indexes)
    return hashlib.sha256("\n".join(said).encode()).hexdigest()

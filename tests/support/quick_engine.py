"""How do the projections' many small statements become quick? By going from SQLAlchemy's compiled form straight to SQLite.

`QuickEngine` stands in for an SQLAlchemy engine on a database in memory: what is compiled, bound and converted is SQLAlchemy's,
what is left out is its machinery around each execution. Some seeds of the simulation have a real engine on a real file instead.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ClauseElement, Dialect, Table
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.compiler import ExpandedState, SQLCompiler

Values = Mapping[str, Any]
Convert = Callable[[Any], Any]
MOST_KNOWN = 300
MOST_LENGTHS = 32
"""So many statements are remembered, and of each so many lengths of its lists; then all are forgotten. About a hundred come
again and again; each rebuild adds some to tables of its own, which never come again."""


class _Statement:
    """A statement, compiled once for all that differ from it only in their values."""

    def __init__(self, compiled: SQLCompiler, dialect: Dialect) -> None:
        assert not (compiled.insert_prefetch or compiled.update_prefetch), "defaults made by Python are not known here"
        self.compiled = compiled
        assert not compiled.literal_execute_params
        self._lists = [compiled.bind_names[bind] for bind in compiled.post_compile_params]
        self._expanded: dict[tuple[int, ...], ExpandedState] = {}
        self.columns = SimpleResultMetaData([column.keyname for column in compiled._result_columns])
        self.converts: list[tuple[int, Convert]] = [
            (at, convert)
            for at, column in enumerate(compiled._result_columns)
            if (convert := column.type.dialect_impl(dialect).result_processor(dialect, None)) is not None
        ]

    def bound(self, extracted: Sequence[Any], values: Values) -> tuple[str, list[Any]]:
        """The SQL text and what stands for its question marks."""
        compiled = self.compiled
        given = compiled.construct_params(values, extracted_parameters=extracted, escape_names=False)
        text, order, processors = compiled.string, compiled.positiontup or (), compiled._bind_processors
        if self._lists:
            text, order = self._spread(given)
        return text, [processors[name](given[name]) if name in processors else given[name] for name in order]

    def _spread(self, given: dict[str, Any]) -> tuple[str, Sequence[str]]:
        """Lists become as many question marks as they have values; the text is made once for each length."""
        lists = {name: list(given[name]) for name in self._lists}
        lengths = tuple(map(len, lists.values()))
        state = self._expanded.get(lengths)
        if state is None:
            if len(self._expanded) >= MOST_LENGTHS:
                self._expanded.clear()
            state = self._expanded[lengths] = self.compiled._process_parameters_for_postcompile(dict(given))
            assert state.processors.keys() <= self.compiled._bind_processors.keys(), "values in lists are not converted here"
        for name, values in lists.items():
            flat = [part for value in values for part in value] if values and isinstance(values[0], tuple) else values
            given.update(zip(state.parameter_expansion[name], flat, strict=True))
        return state.statement, state.positiontup or ()

    def converted(self, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Rows as SQLAlchemy would hand them out."""
        if not self.converts:
            return rows
        lists = [list(row) for row in rows]
        for at, convert in self.converts:
            for row in lists:
                row[at] = convert(row[at])
        return [tuple(row) for row in lists]


_known: dict[Any, _Statement] = {}
_seen: dict[tuple[int, tuple[str, ...], bool], tuple[ClauseElement, _Statement, Sequence[Any]]] = {}
"""The same objects again, as constants are: they are held here, so that no other gets their identity."""


class Rows(IteratorResult[Any]):
    """The rows of a statement, and how many it changed."""

    def __init__(self, columns: SimpleResultMetaData, rows: list[tuple[Any, ...]], rowcount: int) -> None:
        super().__init__(columns, iter(rows))
        self.rowcount = rowcount


class QuickConnection:
    """Stands in for `Connection` within one transaction."""

    def __init__(self, engine: "QuickEngine") -> None:
        self._engine = engine
        self.dialect = engine.dialect

    def _run_ddl_visitor(self, visitor: Any, table: Table, **options: Any) -> None:
        """What `Table.create` asks of a connection."""
        for made in (CreateTable(table), *map(CreateIndex, table.indexes)):
            self._engine.raw.execute(str(made.compile(dialect=self.dialect)))

    def execute(self, statement: ClauseElement, parameters: Values | Sequence[Values] | None = None) -> Rows:
        """One statement, with one set of values or several."""
        sets = [parameters] if isinstance(parameters, Mapping) else list(parameters or [{}])
        many = len(sets) > 1
        known, extracted = self._look_up(statement, tuple(sets[0]), many)
        bound = [known.bound(extracted, values) for values in sets]
        with self._cursor(bound[0][0]) as cursor:
            if many:
                cursor.executemany(bound[0][0], [values for _, values in bound])
            else:
                cursor.execute(*bound[0])
            return Rows(known.columns, known.converted(cursor.fetchall()), cursor.rowcount)

    def exec_driver_sql(self, text: str, values: tuple[Any, ...]) -> None:
        """One statement that is text already."""
        with self._cursor(text) as cursor:
            cursor.execute(text, values)

    @contextmanager
    def _cursor(self, text: str) -> Iterator[sqlite3.Cursor]:
        cursor = self._engine.raw.cursor()
        try:
            yield cursor
        except sqlite3.Error as error:
            raise DBAPIError.instance(text, None, error, sqlite3.Error, dialect=self.dialect) from error  # type: ignore[arg-type]
        finally:
            cursor.close()

    def _look_up(self, statement: ClauseElement, columns: tuple[str, ...], many: bool) -> tuple[_Statement, Sequence[Any]]:
        here = (id(statement), columns, many)
        if here not in _seen:
            if len(_seen) >= MOST_KNOWN:
                _seen.clear()
            _seen[here] = (statement, *self._compiled(statement, columns, many))
        return _seen[here][1:]

    def _compiled(self, statement: ClauseElement, columns: tuple[str, ...], many: bool) -> tuple[_Statement, Sequence[Any]]:
        key = statement._generate_cache_key()
        assert key is not None, statement
        known = _known.get((key.key, columns, many))
        if known is None:
            if len(_known) >= MOST_KNOWN:
                _known.clear()
            options: dict[str, Any] = {"cache_key": key, "column_keys": list(columns), "for_executemany": many}
            compiled = statement.compile(dialect=self.dialect, **options)
            known = _known[key.key, columns, many] = _Statement(compiled, self.dialect)  # type: ignore[arg-type]
        return known, key.bindparams


class QuickEngine:
    """A database in memory, begun as a copy of `template`. `may_begin` raises when no transaction can begin."""

    def __init__(self, dialect: Dialect, template: bytes, may_begin: Callable[[], None]) -> None:
        self.dialect = dialect
        self.raw = sqlite3.connect(":memory:", isolation_level=None)
        self.raw.deserialize(template)
        self._may_begin = may_begin

    @contextmanager
    def begin(self) -> Iterator[QuickConnection]:
        """One transaction that writes."""
        self._may_begin()
        self.raw.execute("BEGIN")
        try:
            yield QuickConnection(self)
        except BaseException:
            self.raw.execute("ROLLBACK")
            raise
        self.raw.execute("COMMIT")

    @contextmanager
    def connect(self) -> Iterator[QuickConnection]:
        """For reading: nobody writes meanwhile, for there is one thread."""
        self._may_begin()
        yield QuickConnection(self)

    def dispose(self) -> None:
        """The database is gone."""
        self.raw.close()

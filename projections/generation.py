"""How does a new generation of a projection's tables come to stand beside the live ones, and then in their place?

Tables under construction are called `<table>__next`. Names of indexes and keys carry the generation, for they stay when the
table is renamed.
"""

from sqlalchemy import Connection, MetaData, Table, text
from sqlalchemy.sql.elements import quoted_name

from projections.projection import Projection, Tables

NEXT = "__next"
_OLD = "__old"


def live_tables(projection: Projection) -> Tables:
    """The tables that readers read."""
    return {table.name: table for table in projection.tables}


def create_next(connection: Connection, projection: Projection, generation: int) -> Tables:
    """Empty tables of `generation` beside the live ones; any left by an earlier try are dropped first."""
    drop_next(connection, projection)
    made = {table.name: _named(table, generation) for table in projection.tables}
    for table in made.values():
        table.create(connection)
    return made


def drop_next(connection: Connection, projection: Projection) -> None:
    """Drop what stands beside the live tables, if anything does."""
    for table in projection.tables:
        connection.execute(text(f'DROP TABLE IF EXISTS "{table.name}{NEXT}"'))


def swap(connection: Connection, projection: Projection) -> None:
    """Put the next generation in the place of the live one, in the caller's transaction.

    On Postgres this waits for readers, half a second at most (the caller then tries again later), so that nobody queues behind
    it; less than Postgres takes to look for deadlocks, so that it never is a reader that loses.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = '500ms'"))
    for table in projection.tables:
        connection.execute(text(f'ALTER TABLE "{table.name}" RENAME TO "{table.name}{_OLD}"'))
        connection.execute(text(f'ALTER TABLE "{table.name}{NEXT}" RENAME TO "{table.name}"'))
    for table in projection.tables:
        connection.execute(text(f'DROP TABLE "{table.name}{_OLD}"'))


def _named(table: Table, generation: int) -> Table:
    made = table.to_metadata(MetaData(), name=f"{table.name}{NEXT}")
    made.primary_key.name = f"{table.name}_key__g{generation}"
    numbered = {tuple(column.name for column in index.columns): index.name for index in table.indexes}
    for index in made.indexes:
        index.name = quoted_name(f"{numbered[tuple(column.name for column in index.columns)]}__g{generation}", None)
    return made

"""How do the sealed secrets get into a file of their own? Row by row, as they are: nothing is opened, so no key is needed."""

from sqlalchemy import Engine, func, insert, inspect, select

from infra.vaults.tables import metadata, secrets

_AT_ONCE = 500


def holds_secrets(engine: Engine) -> bool:
    """Whether the database has a vault with anything in it."""
    with engine.connect() as connection:
        if not inspect(connection).has_table(secrets.name):
            return False
        return connection.execute(select(secrets.c.secret_id).limit(1)).first() is not None


def count_secrets(engine: Engine) -> int:
    """How many secrets the vault holds."""
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(secrets)).scalar_one()


def copy_sealed(source: Engine, target: Engine) -> None:
    """Copy the vault as it is at one moment from one database to another, empty one."""
    with source.begin() as reading, target.begin() as writing:
        metadata.create_all(writing)
        there = inspect(reading).get_table_names()
        for table in (table for table in metadata.sorted_tables if table.name in there):
            for rows in reading.execute(select(table)).mappings().partitions(_AT_ONCE):
                writing.execute(insert(table), [dict(row) for row in rows])

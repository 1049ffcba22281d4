"""What does an error of Postgres mean to the projections: try the whole transaction again, or stop and say why?"""

import pytest
from sqlalchemy import Connection, text

from infra.sql.engine import open_engine
from infra.sql.read_store import SqlReadStore
from projections.read_store import StoreRefused, StoreUnavailable

pytestmark = pytest.mark.services


@pytest.mark.parametrize(
    ("state", "name", "meaning"),
    [
        ("40P01", "deadlock_detected", StoreUnavailable),
        ("40001", "serialization_failure", StoreUnavailable),
        ("55P03", "lock_not_available", StoreUnavailable),
        ("57014", "query_canceled", StoreUnavailable),
        ("25006", "read_only_sql_transaction", StoreUnavailable),
        ("53100", "disk_full", StoreUnavailable),
        ("53300", "too_many_connections", StoreUnavailable),
        ("23505", "unique_violation", StoreRefused),
        ("22P05", "untranslatable_character", StoreRefused),
        ("42703", "undefined_column", StoreRefused),
    ],
)
async def test_only_what_may_pass_is_tried_again_and_nothing_of_a_failed_transaction_stays(
    postgres_url: str, state: str, name: str, meaning: type[Exception]
) -> None:
    engine = open_engine(postgres_url)
    table = f"fails_with_{state.lower()}"
    store = SqlReadStore(engine)

    def made(connection: Connection) -> None:
        connection.execute(text(f"CREATE TABLE {table} (number int)"))

    def failing(connection: Connection) -> None:
        connection.execute(text(f"INSERT INTO {table} VALUES (1)"))
        connection.execute(text(f"DO $$ BEGIN RAISE EXCEPTION '{name}' USING ERRCODE = '{state}'; END $$"))

    def counted(connection: Connection) -> int:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() or 0)

    await store.transact(made)
    with pytest.raises(meaning, match=name):
        await store.transact(failing)
    assert await store.transact(counted) == 0
    await store.transact(lambda connection: connection.execute(text(f"DROP TABLE {table}")))
    await store.close()
    engine.dispose()

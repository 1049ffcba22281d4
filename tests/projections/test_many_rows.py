"""Are more rows than one statement takes written and read as they are?"""

import pytest
from sqlalchemy import Column, MetaData, Table, create_engine, insert, select
from sqlalchemy.exc import IntegrityError

from projections.bulk import add_to_rows, insert_rows, put_rows, rows_below
from projections.bulk_sqlite import ROWS_AT_ONCE, insert_many
from projections.tables import job_results, run_output, run_steps, targets
from tests.projections.tables_seen import Database

MANY = 2 * ROWS_AT_ONCE + 7
AWKWARD = "ä'\"\\u0000 \\ \t\x1f{}[]null 0012 \U0001f600"


def value(column: "Column[object]", number: int) -> object:
    match type(column.type).__name__:
        case "Boolean":
            return number % 2 == 0
        case "BigInteger":
            return 2**53 + number
        case "Integer":
            return number
        case "JSON":
            return {"a": [number, AWKWARD, None, True, {}]}
        case _:
            return (
                None if column.nullable and number % 3 == 0 else f"{number:04} {AWKWARD}"[: getattr(column.type, "length", None)]
            )


def rows(table: Table, count: int = MANY) -> list[dict[str, object]]:
    return [{column.name: value(column, number) for column in table.columns} for number in range(count)]


@pytest.mark.parametrize("table", [run_steps, run_output, targets], ids=lambda table: table.name)
def test_rows_are_read_as_they_were_written(database: Database, table: Table) -> None:
    written = rows(table)
    first = next(iter(table.primary_key.columns)).name
    with database.writer.begin() as connection:
        put_rows(connection, table, written)
        found = rows_below(connection, table, [(row[first],) for row in written])
        usual = [dict(row) for row in connection.execute(select(table)).mappings()]
    assert sorted(found, key=str) == sorted(usual, key=str) == sorted(written, key=str)


def test_a_row_that_is_there_is_replaced_refused_or_kept(database: Database) -> None:
    before, after = rows(targets), [{**row, "title": "another"} for row in rows(targets)]
    with database.writer.begin() as connection:
        insert_rows(connection, targets, before, keep_first=False)
        insert_rows(connection, targets, after, keep_first=True)
        assert {row["title"] for row in rows_below(connection, targets, [(row["name"],) for row in before])} != {"another"}
        put_rows(connection, targets, after)
        assert {row["title"] for row in rows_below(connection, targets, [(row["name"],) for row in before])} == {"another"}
    with pytest.raises(IntegrityError), database.writer.begin() as connection:
        insert_rows(connection, targets, before, keep_first=False)


def test_numbers_are_added_to_each_row_also_where_one_comes_twice(database: Database) -> None:
    keys = {column.name for column in job_results.primary_key.columns}
    counted = rows(job_results)
    with database.writer.begin() as connection:
        add_to_rows(connection, job_results, counted)
        add_to_rows(connection, job_results, counted)
        found = [dict(row) for row in connection.execute(select(job_results)).mappings()]
    doubled = [{name: number if name in keys else 2 * number for name, number in row.items()} for row in counted]
    assert sorted(found, key=str) == sorted(doubled, key=str)


def test_a_statement_that_does_not_take_whole_rows_is_refused() -> None:
    fewer = Table("targets", MetaData(), Column("name"))
    with create_engine("sqlite://").begin() as connection, pytest.raises(ValueError, match="targets"):
        insert_many(connection, insert(fewer), targets, rows(targets, 1))

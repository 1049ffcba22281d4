"""Are rows of every kind, of users and unfinished runs too, what the checker of faults takes them to be?"""

from random import Random

import pytest

from infra.memory.log import MemoryLog
from projections import tables
from schemas.event_envelope import EventEnvelope, RecordedEvent
from schemas.position import Partition, Position
from schemas.run_output import OutputChunk
from schemas.topics import EVENT_TOPICS, RUN_OUTPUT
from tests.projections.histories import Writer, random_history
from tests.projections.tables_seen import Database, project
from tests.support.rows_of_log import KEYS, key_of, rows_of


@pytest.mark.parametrize("seed", [0, 5])
async def test_every_row_of_every_table_is_what_the_log_says_in_all_its_columns(database: Database, seed: int) -> None:
    log, history = MemoryLog(2), random_history(Random(seed), 400)
    writer = Writer(log)
    writer.write(history.interleaved(Random(1)))
    writer.write_output(history.output)
    await project(log, database)
    expected = rows_of(events_of(log), output_of(log))
    assert not expected.unsaid
    for table, rows in database.rows().items():
        assert rows, f"nothing is in {table}"
        assert {key_of(table, row): row for row in rows} == expected.rows[table]


def test_every_table_is_held_against_the_log_by_its_key() -> None:
    assert {t.name: tuple(c.name for c in t.primary_key.columns) for t in tables.metadata.sorted_tables} == KEYS


def _committed(log: MemoryLog, topics: tuple[str, ...]) -> list[tuple[Position, object]]:
    """Every record, each partition's in their order."""
    found = []
    for partition in (Partition(topic, shard) for topic in topics for shard in range(log.shards)):
        for offset, record in log.storage.committed(partition, 0):
            if record is not None:
                found.append((Position(*partition, offset), log.storage.body(partition, offset)))
    return found


def events_of(log: MemoryLog) -> list[RecordedEvent]:
    return [RecordedEvent(body, at) for at, body in _committed(log, EVENT_TOPICS) if isinstance(body, EventEnvelope)]


def output_of(log: MemoryLog) -> list[tuple[Position, OutputChunk]]:
    return [(at, body) for at, body in _committed(log, (RUN_OUTPUT,)) if isinstance(body, OutputChunk)]

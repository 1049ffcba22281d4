"""Are rows of every kind, users and unfinished runs too, what the checker of faults takes them to be?"""

from random import Random

import pytest

from infra.memory.log import MemoryLog
from schemas.event_envelope import EventEnvelope, RecordedEvent
from schemas.position import Partition, Position
from schemas.topics import EVENT_TOPICS
from tests.projections.histories import Writer, random_history
from tests.projections.tables_seen import Database, project
from tests.support.shown import KEYS, columns_of


@pytest.mark.parametrize("seed", [0, 5])
async def test_rows_have_the_columns_that_the_domains_own_fold_gives_them(database: Database, seed: int) -> None:
    log = MemoryLog(2)
    Writer(log).write(random_history(Random(seed), 400).interleaved(Random(1)))
    await project(log, database)
    rows = database.rows()
    for table, wanted in columns_of(events_of(log)).items():
        found = {row[KEYS[table]]: row for row in rows[table]}
        assert found.keys() == wanted.keys() and wanted
        for key, columns in wanted.items():
            assert {name: found[key][name] for name in columns} == columns != {}


def events_of(log: MemoryLog) -> list[RecordedEvent]:
    """Every event, each stream's in their order."""
    found = []
    for topic, shard in ((topic, shard) for topic in EVENT_TOPICS for shard in range(log.shards)):
        for offset, record in log.storage.committed(Partition(topic, shard), 0):
            body = record and log.storage.body(Partition(topic, shard), offset)
            if isinstance(body, EventEnvelope):
                found.append(RecordedEvent(body, Position(topic, shard, offset)))
    return found

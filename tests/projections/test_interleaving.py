"""Do all projections make the same tables of the same events, whatever the order of streams, and whenever?"""

from random import Random
from unittest.mock import patch

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from infra.memory.log import MemoryLog
from projections import follow
from tests.projections.histories import Writer, random_history
from tests.projections.tables_seen import BY_POSITION, Database, project

_QUICK = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@_QUICK
@example(seed=0, shards=3)
@given(seed=st.integers(0, 2**32), shards=st.sampled_from([1, 3]))
async def test_events_interleaved_anew_across_streams_give_equal_tables(database: Database, seed: int, shards: int) -> None:
    history = random_history(Random(seed), 400)
    seen = []
    for order, batch in ((1, 500), (2, 7)):
        log = MemoryLog(shards)
        writer = Writer(log)
        writer.write(history.interleaved(Random(seed + order)))
        writer.write_output(history.output)
        database.wipe()
        with patch.object(follow, "BATCH", batch):
            await project(log, database)
        seen.append(database.rows(BY_POSITION))
    assert all(seen[0].values()) or seed != 0, "the first history is to fill every table"
    assert seen[0] == seen[1]

"""What did each step write?

A chunk may come twice, because publishing it may be repeated; the first one stays. A record that cannot be read is passed over:
output is no event, and a hostile target must not be able to stop its read model. For the same reason U+0000, which Postgres
refuses, is shown as U+FFFD.
"""

from collections.abc import Iterable

from projections.bulk import Row
from projections.fact import Fact
from projections.projection import Projection, RowPerEvent
from projections.tables import run_output, stored_time
from schemas.run_output import OutputChunk
from schemas.topics import RUN_OUTPUT as TOPIC


def _rows(fact: Fact) -> Iterable[Row]:
    chunk = fact.body
    if not isinstance(chunk, OutputChunk):
        return []
    row = {
        "run": chunk.run,
        "target": chunk.target,
        "step_index": chunk.step_index,
        "attempt": chunk.attempt,
        "sequence": chunk.sequence,
        "step": chunk.step,
        "stream": chunk.stream,
        "time": stored_time(chunk.time),
        "text": chunk.text.replace("\x00", "\ufffd"),
        "offset": fact.position.offset,
    }
    return [row]


RUN_OUTPUT = Projection("run_output", (TOPIC,), (RowPerEvent(run_output, _rows, "keep first"),), revision=1)

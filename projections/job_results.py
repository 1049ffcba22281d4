"""How many runs of each job ended in which state?"""

from collections.abc import Iterable, Mapping

from domain.identity import job_of, name_of
from domain.run.messages import RunFinished
from projections.bulk import Key
from projections.fact import Fact
from projections.projection import Projection, Tally
from projections.tables import job_results


def _deltas(fact: Fact) -> Iterable[tuple[Key, Mapping[str, int]]]:
    event = fact.event
    if not isinstance(event, RunFinished):
        return []
    return [((job_of(name_of(fact.envelope.stream)), event.state), {"runs": 1})]


JOB_RESULTS = Projection("job_results", ("runs",), (Tally(job_results, _deltas),), revision=1)

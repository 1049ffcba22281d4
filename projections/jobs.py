"""Which jobs are there, and what did each of their revisions say?"""

from collections.abc import Iterable

from domain.identity import name_of
from domain.job.decide import JobArchived, JobDefined, JobRevised
from domain.job.definition import JobDefinition
from projections.bulk import Key, Row
from projections.fact import Fact
from projections.own_rows import OwnRows
from projections.plain import plain
from projections.projection import Projection, RowPerEvent, RowPerStream
from projections.tables import job_revisions, jobs, stored_time
from projections.who import person_of


def _own(fact: Fact) -> Iterable[Key]:
    return [(name_of(fact.envelope.stream),)]


def _fold(own: OwnRows, fact: Fact) -> None:
    name, time = name_of(fact.envelope.stream), stored_time(fact.envelope.time)
    row = own.get(name) or {"created_at": time, "archived": False}
    match fact.event:
        case JobDefined(revision=revision, definition=definition) | JobRevised(revision, definition):
            row = {**row, "revision": revision, "definition": plain(JobDefinition, definition)}
        case JobArchived():
            row = {**row, "archived": True}
        case _:
            raise TypeError(f"{fact.envelope.type} is no event of a job")
    own.put({**row, "name": name, "updated_at": time, "version": fact.envelope.version, "offset": fact.position.offset})


def _revisions(fact: Fact) -> Iterable[Row]:
    event = fact.event
    if not isinstance(event, JobDefined | JobRevised):
        return []
    revised = {
        "job": name_of(fact.envelope.stream),
        "revision": event.revision,
        "definition": plain(JobDefinition, event.definition),
        "author": person_of(fact.envelope),
        "time": stored_time(fact.envelope.time),
        "version": fact.envelope.version,
    }
    return [revised]


JOBS = Projection(
    "jobs",
    ("jobs",),
    (RowPerStream(jobs, _own, _fold), RowPerEvent(job_revisions, _revisions, "refuse")),
    revision=1,
)

"""What is recorded of one run of the system, for `tests.support.checker` to judge."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from domain.identity import RUN, kind_of, name_of
from domain.run.messages import StepFinished, StepStarted
from schemas.command_envelope import CommandEnvelope
from schemas.event_envelope import RecordedEvent
from schemas.event_types import event_of
from schemas.log import TakenCommand
from schemas.outcome import Accepted, Outcome, Rejected
from schemas.position import Partition, Position
from schemas.run_output import OutputChunk


@dataclass(slots=True)
class Told:
    """A command a client sent, once or several times, and what it was told: accepted, rejected or (None) nothing certain."""

    command: CommandEnvelope
    result: Accepted | Rejected | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """What a target saw: a step began there. `visible`: how far each partition of `runs` could be read at that moment."""

    mark: str
    target: str
    visible: Mapping[Partition, int]


class Beat(NamedTuple):
    """A heartbeat of an executor, when it reached the log, which took or refused it (seconds of one clock that is right)."""

    executor: str
    at_s: float
    leaving: bool


@dataclass(frozen=True, slots=True)
class Expiry:
    """A sweeper ends a claim for its executor's silence; `looked_s`: when it looked at claims, the last time with this result."""

    run: str
    executor: str
    looked_s: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything recorded: in each partition the events and outcomes in their order, and read models as rows by table.

    `commands` are all records of the lanes, None where nobody reads them; so are `output`, each chunk with its position, and
    `written`: by mark what each attempt that began wrote to its standard output, as far as it came to its executor.
    `still_running` are the marks of steps that targets still run at the end; `unsettled` says what had not come to its end in
    the time allowed; `unforeseen` are errors no part of the system may have.
    """

    told: Sequence[Told]
    events: Sequence[RecordedEvent]
    outcomes: Sequence[Outcome]
    starts: Sequence[Start]
    still_running: Collection[str]
    live: Mapping[str, Sequence[Mapping[str, Any]]]
    rebuilt: Mapping[str, Sequence[Mapping[str, Any]]]
    commands: Sequence[TakenCommand] | None = None
    output: Sequence[tuple[Position, OutputChunk]] | None = None
    written: Mapping[str, str] | None = None
    stopped_projections: Sequence[str] = ()
    unsettled: Sequence[str] = ()
    unforeseen: Sequence[str] = ()
    beats: Sequence[Beat] = ()
    expiries: Sequence[Expiry] = ()
    lease_s: float = 15.0


Broken = Iterator[str]
"""What breaks an invariant, in sentences."""


def mark_of(run: str, attempt: StepStarted | StepFinished | OutputChunk) -> str:
    """The mark under which a target sees this attempt of a step."""
    said = "\n".join((run, attempt.step, attempt.target, str(attempt.attempt)))
    return "ops-" + sha256(said.encode()).hexdigest()[:32]


def run_events(evidence: Evidence) -> Iterator[tuple[str, Position, Any]]:
    """Every event of a run, with its run and its position."""
    for recorded in evidence.events:
        if kind_of(recorded.event.stream) == RUN:
            yield name_of(recorded.event.stream), recorded.position, event_of(recorded.event)

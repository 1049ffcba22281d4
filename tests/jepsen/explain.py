"""Does the log explain everything that clients saw? Pure: from their history and the whole log to what does not fit.

The outcomes of a shard stand in the order in which its commands were decided. That order is the witness of linearizability: done
again one by one in it, with nobody else about, every command must come to exactly what it came to (`decided_one_by_one`), and
whatever returned before another command was sent stands before it (`real_time_is_kept`). Read models follow the log: they may
lag, but never show what is not there, and never go back (`reads_…`).
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any
from uuid import UUID

from commands.deciders import TABLE
from commands.settle import Settled, StreamState, settle
from domain.audit.hash_chain import GENESIS
from domain.identity import kind_of, name_of, partition_key
from domain.run.messages import RunFinished, RunRequested
from schemas.event_envelope import EventEnvelope
from schemas.event_types import event_of
from schemas.log import TakenCommand
from schemas.outcome import Accepted, Outcome, Rejected
from schemas.wire import topic_of
from tests.jepsen.collect import At, WholeLog, in_order
from tests.jepsen.history import History, Read, Said, Write
from tests.support.checker import misplaced
from tests.support.shown import SHOWN, Shown

Broken = Iterator[str]


@dataclass(frozen=True, slots=True)
class Case:
    """What clients saw and what is in the log."""

    history: History
    log: WholeLog


# --- writes -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Model:
    """One shard as a single process without faults would keep it."""

    streams: dict[str, StreamState] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    outcomes: dict[UUID, Outcome] = field(default_factory=dict)
    runs: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def remembered(self, command_id: UUID) -> Outcome | None:
        return self.outcomes.get(command_id)

    def stream(self, stream: str) -> StreamState:
        return self.streams.get(stream) or StreamState(0, TABLE[kind_of(stream)].decider.initial_state)

    def unfinished(self, key: str) -> tuple[str, ...]:
        return self.runs.get(key, ())

    def head(self, topic: str) -> str:
        return self.heads.get(topic, GENESIS)

    def settled(self, taken: TakenCommand) -> Settled:
        """What the next command comes to."""
        settled = settle(taken, self)
        self._take_in(settled)
        return settled

    def _take_in(self, settled: Settled) -> None:
        self.outcomes.setdefault(settled.outcome.command_id, settled.outcome)
        if settled.after is not None:
            stream = settled.events[0].stream
            self.streams[stream] = settled.after
            self.heads[topic_of(stream)] = settled.events[-1].hash
            for event in settled.events:
                self._begins_or_ends(partition_key(stream), name_of(stream), event.type)

    def _begins_or_ends(self, key: str, run: str, kind: str) -> None:
        """A job's runs that are not finished, in the order they began."""
        if kind == RunRequested.__name__:
            self.runs[key] = (*self.unfinished(key), run)
        elif kind == RunFinished.__name__:
            self.runs[key] = tuple(other for other in self.unfinished(key) if other != run)


def decided_one_by_one(case: Case) -> Broken:
    """One command after the other in the order of the outcomes, everything comes out as it stands in the log, byte for byte."""
    sent: dict[tuple[UUID, str], At] = {}
    for at in case.log.commands:
        sent.setdefault((at.body.command_id, at.body.fingerprint), at)
    there: dict[UUID, list[EventEnvelope]] = defaultdict(list)
    for recorded in case.log.events:
        there[recorded.event.command_id].append(recorded.event)
    for outcomes in in_order(case.log.outcomes).values():
        model = Model()
        for at in outcomes:
            yield from _done_again(at, sent, there, model)


def _done_again(
    at: At, sent: Mapping[tuple[UUID, str], At], there: Mapping[UUID, Sequence[EventEnvelope]], model: Model
) -> Broken:
    outcome = at.body
    command = sent.get((outcome.command_id, outcome.fingerprint))
    if command is None:
        yield f"{at.position}: nobody sent the command {outcome.command_id} that this is the outcome of"
        return
    settled = model.settled(TakenCommand(command.position, command.body))
    if settled.outcome != outcome:
        yield f"{at.position}: {outcome.type} to {outcome.stream} came to {outcome.result}, in order to {settled.outcome.result}"
    elif not settled.repeated and list(settled.events) != there.get(outcome.command_id, []):
        yield f"{at.position}: {outcome.type} to {outcome.stream} has other events in the log than in order"


def if_match_is_kept(case: Case) -> Broken:
    """What a client made depend on a version was decided against that version, whatever the command in the log says of it."""
    expected = {write.command_id: write.expected for write in case.history.writes}
    outcomes = (at.body for at in case.log.outcomes)
    yield from misplaced(outcomes, case.log.events, lambda outcome: expected.get(outcome.command_id))


def real_time_is_kept(case: Case) -> Broken:
    """A command that returned before another was sent was decided before it, in every shard."""
    sent = {write.command_id: write for write in case.history.writes}
    for shard, outcomes in in_order(case.log.outcomes).items():
        latest, latest_write, seen = -inf, None, set[UUID]()
        for at in outcomes:
            write = sent.get(at.body.command_id)
            if write is None or write.command_id in seen:
                continue
            seen.add(write.command_id)
            if write.returned < latest and latest_write is not None:
                yield f"shard {shard}: {_named(write)} returned before {_named(latest_write)} was sent, and stands after it"
            if write.invoked > latest:
                latest, latest_write = write.invoked, write


def answers_are_in_the_log(case: Case) -> Broken:
    """What a client was told stands in the log: accepted under that version, rejected for that reason."""
    first: dict[UUID, Outcome] = {}
    for at in case.log.outcomes:
        first.setdefault(at.body.command_id, at.body)
    for write in case.history.writes:
        outcome = first.get(write.command_id)
        for one in write.definite:
            if outcome is None:
                yield f"{_named(write)} was answered {one.how}, and the log knows no outcome of it"
            elif one.said is Said.OK and getattr(outcome.result, "version", None) != one.version:
                yield f"{_named(write)} was told version {one.version}; its outcome is {outcome.result}"
            elif one.said is Said.REJECTED and not _same_rejection(outcome.result, one.rejected):
                yield f"{_named(write)} was told {one.rejected}; its outcome is {outcome.result}"


def _same_rejection(result: Accepted | Rejected, told: Rejected | None) -> bool:
    return isinstance(result, Rejected) and told is not None and (result.code, result.errors) == (told.code, told.errors)


def nothing_written_is_nowhere(case: Case) -> Broken:
    """What was certainly not written, as its client was told, is not in the log: neither a command of which it was told so every
    time, nor one try of those that were written by another.
    """
    there = {at.body.command_id for at in (*case.log.commands, *case.log.outcomes)}
    came = {(at.body.command_id, at.body.correlation_id) for at in case.log.commands}
    for write in case.history.writes:
        for one in write.tries:
            if one.said is Said.NOTHING_WRITTEN and (write.command_id, one.correlation) in came:
                yield f"{_named(write)} was told {one.how} at {one.began:.2f}, and the log has what was sent then"
        if write.said is Said.NOTHING_WRITTEN and write.command_id in there:
            yield f"{_named(write)} was told {[one.how for one in write.tries]}, and the log has it"


def what_was_decided_is_told(case: Case) -> Broken:
    """Asked once all was settled, the server knows of every command what the log knows."""
    there = {at.body.command_id for at in case.log.outcomes}
    for write in case.history.writes:
        last = write.tries[-1]
        if last.asked and last.said is Said.UNKNOWN and not write.definite and write.command_id in there:
            yield f"{_named(write)} was answered {last.how} when all was settled, and the log has its outcome"


def _named(write: Write) -> str:
    return f"{write.kind} {write.command_id} of client {write.client} to {write.stream}"


# --- reads ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Stream:
    """A stream's versions: what each looks like, and which command made it."""

    shown: list[Shown] = field(default_factory=list)
    by: list[UUID] = field(default_factory=list)


def _shown(kind: str, state: Any) -> Shown:
    """How a state looks; one of events that do not fit together looks like nothing that could be read."""
    try:
        return SHOWN[kind](state)
    except (TypeError, AttributeError):
        return {}


def _streams(log: WholeLog) -> dict[str, _Stream]:
    found: dict[str, _Stream] = defaultdict(_Stream)
    states: dict[str, Any] = {}
    for recorded in log.events:
        event = recorded.event
        kind = kind_of(event.stream)
        if kind in SHOWN:
            decider = TABLE[kind].decider
            states[event.stream] = decider.fold(states.get(event.stream, decider.initial_state), [event_of(event)])
            found[event.stream].shown.append(_shown(kind, states[event.stream]))
            found[event.stream].by.append(event.command_id)
    return found


def reads_are_explained(case: Case) -> Broken:
    """What was read is a version in the log and looks like it, of a command that had been sent by then."""
    streams = _streams(case.log)
    sent = {write.command_id: write for write in case.history.writes}
    for read in case.history.reads:
        stream = streams.get(read.stream, _Stream())
        if read.version > len(stream.shown):
            yield f"{_read(read)}: the log has {len(stream.shown)} versions"
        elif read.version:
            wanted = stream.shown[read.version - 1]
            if differing := {name: (read.body.get(name), said) for name, said in wanted.items() if read.body.get(name) != said}:
                yield f"{_read(read)}: read and in the log: {differing}"
            cause = sent.get(stream.by[read.version - 1])
            if cause is not None and cause.invoked > read.ended:
                yield f"{_read(read)}: {_named(cause)}, which made it, was sent only later"


def reads_are_as_new_as_asked(case: Case) -> Broken:
    """`Ops-Min-Version` is kept."""
    for read in case.history.reads:
        if read.at_least is not None and read.version < read.at_least:
            yield f"{_read(read)}, asked for at least {read.at_least}"


def reads_never_go_back(case: Case) -> Broken:
    """Whoever reads after another's read has ended sees at least that version; so no client's session goes back either."""
    by_stream: dict[str, list[Read]] = defaultdict(list)
    for read in case.history.reads:
        by_stream[read.stream].append(read)
    for reads in by_stream.values():
        ends = sorted((read.ended, read.version) for read in reads)
        times = [end for end, _ in ends]
        highest, newest = [], 0
        for _, version in ends:
            newest = max(newest, version)
            highest.append(newest)
        for read in reads:
            before = bisect_right(times, read.began)
            if before and highest[before - 1] > read.version:
                yield f"{_read(read)}, and version {highest[before - 1]} had been read before it began"


def what_is_there_is_found(case: Case) -> Broken:
    """A read that finds nothing began before anybody was told that there is something."""
    made: dict[str, float] = {}
    for write in case.history.writes:
        if write.said is Said.OK:
            made[write.stream] = min(made.get(write.stream, inf), write.returned)
    for read in case.history.reads:
        if not read.version and made.get(read.stream, inf) < read.began:
            yield f"{_read(read)} {read.began - made[read.stream]:.2f} s after it was made"


def _read(read: Read) -> str:
    return f"client {read.client} read version {read.version} of {read.stream} at {read.began:.2f}"


QUESTIONS: Mapping[str, Callable[[Case], Broken]] = {
    question.__name__: question
    for question in (
        decided_one_by_one,
        if_match_is_kept,
        real_time_is_kept,
        answers_are_in_the_log,
        nothing_written_is_nowhere,
        what_was_decided_is_told,
        reads_are_explained,
        reads_are_as_new_as_asked,
        reads_never_go_back,
        what_is_there_is_found,
    )
}


def unexplained(case: Case) -> list[tuple[str, str]]:
    """Everything that does not fit, each with the name of what it breaks."""
    return [(name, what) for name, question in QUESTIONS.items() for what in question(case)]

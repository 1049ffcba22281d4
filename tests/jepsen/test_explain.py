"""Is each thing that a log cannot explain named? A small sound history is broken in one way at a time."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import pytest

from domain.identity import run_id
from domain.job.decide import DefineJob
from domain.job.definition import CommandStep, JobDefinition
from domain.run.messages import CancelRun, RequestRun
from domain.target import ChangeTarget, RegisterTarget, SshConnection
from schemas.actor import Actor
from schemas.command_envelope import CommandEnvelope
from schemas.event_envelope import RecordedEvent
from schemas.event_types import event_of
from schemas.log import TakenCommand
from schemas.outcome import Accepted, Outcome, Rejected
from schemas.payload import to_json
from schemas.position import Position
from schemas.topics import COMMANDS_PEOPLE, OUTCOMES
from tests.jepsen.collect import At, WholeLog
from tests.jepsen.explain import QUESTIONS, Case, Model, decided_one_by_one, unexplained
from tests.jepsen.history import History, Read, Said, Try, Write

STREAM = "target/web"


def command(number: int, payload: Any, expected: int | None = None) -> CommandEnvelope:
    return CommandEnvelope(
        command_id=uuid5(UUID(int=0), str(number)),
        type=type(payload).__name__,
        stream=STREAM,
        payload=to_json(payload),
        actor=Actor("user", "admin"),
        correlation_id=f"c{number}",
        time=datetime(2026, 1, 1, tzinfo=UTC),
        fingerprint=str(number),
        expected_version=expected,
    )


SENT = [
    command(0, RegisterTarget("web", "h", SshConnection("key"), "one")),
    command(1, ChangeTarget(title="two")),
    command(2, ChangeTarget(title="three"), expected=1),
    command(3, ChangeTarget(title="four")),
]
NEVER = uuid5(UUID(int=0), "never")


def log_of(commands: Iterable[CommandEnvelope]) -> WholeLog:
    """What one owner would make of these commands."""
    log, model = WholeLog(1), Model()
    for number, one in enumerate(commands):
        taken = Position(COMMANDS_PEOPLE, 0, number)
        settled = model.settled(TakenCommand(taken, one))
        log.commands.append(At(taken, one))
        log.outcomes.append(At(Position(OUTCOMES, 0, number), settled.outcome))
        first = len(log.events)
        log.events += [RecordedEvent(event, Position("targets", 0, first + n)) for n, event in enumerate(settled.events)]
    return log


def write(number: int, outcome: Outcome) -> Write:
    """Sent at `number`, answered half a second later."""
    result = outcome.result
    said, version, rejected = Said.REJECTED, None, None
    if isinstance(result, Accepted):
        said, version = Said.OK, result.version
    else:
        rejected = result
    one = Try(began=float(number), ended=number + 0.5, said=said, how="", version=version, rejected=rejected)
    expected = SENT[number].expected_version
    return Write(client=0, stream=STREAM, command_id=outcome.command_id, kind="write", expected=expected, tries=[one])


def read(version: int, title: str, at: float, at_least: int | None = None) -> Read:
    body = {"version": version, "title": title, "host": "h", "labels": {}, "retired": False} if version else {}
    return Read(client=1, stream=STREAM, began=at, ended=at + 0.1, version=version, body=body, at_least=at_least)


def sound() -> Case:
    log = log_of(SENT)
    writes = [write(number, at.body) for number, at in enumerate(log.outcomes)]
    nowhere = Try(began=4.0, ended=4.1, said=Said.NOTHING_WRITTEN, how="503 log_unavailable")
    writes.append(Write(client=0, stream=STREAM, command_id=NEVER, kind="write", expected=None, tries=[nowhere]))
    reads = [read(0, "", 0.1), read(1, "one", 1.2), read(2, "two", 1.8, at_least=2), read(3, "four", 5.0)]
    return Case(History(writes=writes, reads=reads), log)


def test_a_sound_history_is_explained_and_has_a_rejection_in_it() -> None:
    case = sound()
    assert unexplained(case) == []
    assert [type(at.body.result) for at in case.log.outcomes] == [Accepted, Accepted, Rejected, Accepted]


def test_runs_of_a_job_are_known_to_each_other_when_they_are_decided_again() -> None:
    """A queue of three, the first of which is cancelled before the third comes."""
    definition = JobDefinition(targets="a", steps=(CommandStep(name="only", run="true"),), concurrency="queue")
    ids = [run_id("q", UUID(int=number)) for number in range(3)]
    said: list[tuple[Any, str]] = [(DefineJob("q", definition), "job/q")]
    said += [(RequestRun("q", 1, {}), f"run/{run}") for run in ids]
    said.insert(3, (CancelRun(), f"run/{ids[0]}"))
    log = log_of(replace(command(10 + number, payload), stream=stream) for number, (payload, stream) in enumerate(said))
    waits = [event_of(e.event).waits_for for e in log.events if e.event.type == "RunRequested"]
    assert waits == [(), (ids[0],), (ids[1],)]
    assert not list(decided_one_by_one(Case(History(), log)))


# --- one way to break each --------------------------------------------------------------------------------------------


def decided_on_stale_state(case: Case) -> None:
    """The command that should have met a conflict was accepted."""
    at = case.log.outcomes[2]
    case.log.outcomes[2] = replace(at, body=replace(at.body, result=Accepted(3, ())))


def an_event_of_no_decision(case: Case) -> None:
    event = case.log.events[1]
    case.log.events[1] = RecordedEvent(replace(event.event, payload=b'{"title": "other"}'), event.position)


def the_first_event_is_gone(case: Case) -> None:
    """What follows fits nothing, and is named all the same."""
    del case.log.events[0]


def the_version_a_client_saw_got_lost(case: Case) -> None:
    """It made its change depend on a version, and neither the command nor whoever decided it knows of that."""
    log = log_of([replace(one, expected_version=None) for one in SENT])
    case.log.commands[:], case.log.outcomes[:], case.log.events[:] = log.commands, log.outcomes, log.events
    case.history.writes[2] = write(2, log.outcomes[2].body)


def a_conflict_with_nobody(case: Case) -> None:
    case.history.writes[2].expected = 2


def later_before_earlier(case: Case) -> None:
    """The first change was sent after the second had returned, and stands before it."""
    change = case.history.writes[1]
    change.tries[0] = replace(change.tries[0], began=3.6, ended=3.9)


def told_another_version(case: Case) -> None:
    change = case.history.writes[1]
    change.tries[0] = replace(change.tries[0], version=3)


def told_though_nobody_decided(case: Case) -> None:
    case.log.commands.pop()
    case.log.outcomes.pop()
    case.log.events.pop()
    case.history.reads.pop()


def written_though_told_otherwise(case: Case) -> None:
    case.log.commands.append(At(Position(COMMANDS_PEOPLE, 0, 9), replace(SENT[3], command_id=NEVER)))


def one_try_of_several_written_though_told_otherwise(case: Case) -> None:
    """It was told that nothing was written, tried again, and then told that all is well."""
    change = case.history.writes[1]
    said_no = Try(began=1.0, ended=1.1, said=Said.NOTHING_WRITTEN, how="503 log_unavailable", correlation="c1")
    change.tries[:] = [said_no, replace(change.tries[0], correlation="again")]


def read_what_is_not_there(case: Case) -> None:
    case.history.reads[-1] = read(4, "five", 5.0)


def read_what_was_aborted(case: Case) -> None:
    case.history.reads[-1] = read(3, "three", 5.0)


def read_the_future(case: Case) -> None:
    case.history.reads[1] = read(1, "one", 0.5)
    case.history.reads[2] = read(2, "two", 0.6)


def read_older_than_asked(case: Case) -> None:
    case.history.reads[2] = replace(case.history.reads[2], at_least=3)


def read_older_than_before(case: Case) -> None:
    case.history.reads.append(read(2, "two", 6.0))


def found_nothing(case: Case) -> None:
    case.history.reads[0] = read(0, "", 0.6)


def forgotten_by_the_server(case: Case) -> None:
    """Asked when all was settled, it knew nothing of what is in the log."""
    asked = Try(began=9.0, ended=9.1, said=Said.UNKNOWN, how="asked: 404", asked=True)
    in_doubt = replace(case.history.writes[3].tries[0], said=Said.UNKNOWN, version=None)
    case.history.writes[3].tries[:] = [in_doubt, asked]


BREAKS: dict[Callable[[Case], None], str] = {
    decided_on_stale_state: "decided_one_by_one",
    an_event_of_no_decision: "decided_one_by_one",
    the_version_a_client_saw_got_lost: "if_match_is_kept",
    a_conflict_with_nobody: "if_match_is_kept",
    later_before_earlier: "real_time_is_kept",
    told_another_version: "answers_are_in_the_log",
    told_though_nobody_decided: "answers_are_in_the_log",
    written_though_told_otherwise: "nothing_written_is_nowhere",
    one_try_of_several_written_though_told_otherwise: "nothing_written_is_nowhere",
    read_what_is_not_there: "reads_are_explained",
    the_first_event_is_gone: "reads_are_explained",
    read_what_was_aborted: "reads_are_explained",
    read_the_future: "reads_are_explained",
    read_older_than_asked: "reads_are_as_new_as_asked",
    read_older_than_before: "reads_never_go_back",
    found_nothing: "what_is_there_is_found",
    forgotten_by_the_server: "what_was_decided_is_told",
}


@pytest.mark.parametrize("breaks", BREAKS, ids=lambda breaks: breaks.__name__)
def test_what_is_broken_is_named(breaks: Callable[[Case], None]) -> None:
    case = sound()
    breaks(case)
    assert BREAKS[breaks] in {name for name, _ in unexplained(case)}


def test_every_question_is_under_test() -> None:
    assert set(BREAKS.values()) == set(QUESTIONS)

"""Does the checker name exactly the invariant that a history breaks? Each time a sound history is broken in one way."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson
import pytest

from domain.audit.hash_chain import GENESIS
from domain.identity import name_of
from schemas.event_envelope import EventEnvelope, RecordedEvent, hash_of
from schemas.event_types import event_of
from schemas.outcome import Accepted, Outcome, Rejected
from schemas.position import Partition
from tests.support.checker import INVARIANTS, Beat, Evidence, Expiry, Told, mark_of, rows_say_what_the_log_says, violations
from tests.support.rows_of_log import KEYS, key_of, rows_of
from tests.support.simulation import simulate

NOBODY = UUID(int=0)
SEEDS = (4, *range(500))
"""The first was rich when this was written; if changed code has other histories, one of the next is."""


def is_rich(evidence: Evidence) -> bool:
    """Whether everything that is broken below is in this history."""
    retried = [e for e in of_type(evidence, "StepStarted") if said(e.event)["attempt"] == 2]
    last = {recorded.event.stream: recorded.event for recorded in evidence.events}.values()
    checked = [e for e in last if e.type in ("TargetChecked", "LateReportReceived")]
    ended = [e for e in last if e.type == "RunFinished" and e.actor.kind == "system"]
    idle = [o for o in evidence.outcomes if isinstance(o.result, Accepted) and not o.result.event_ids]
    conflicts = [o for o in evidence.outcomes if isinstance(o.result, Rejected) and o.result.code == "version_conflict"]
    return bool(retried and checked and ended and idle and conflicts and len(of_type(evidence, "RunClaimed")) > 1)


@pytest.fixture(scope="module")
def sound() -> Evidence:
    """A history with everything in it that the cases need, found by seed."""
    return next(run.evidence for run in map(simulate, SEEDS) if not run.violations and is_rich(run.evidence))


# --- how histories are broken -----------------------------------------------------------------------------------------


def said(event: EventEnvelope) -> Any:
    return orjson.loads(event.payload)


def of_type(evidence: Evidence, kind: str) -> list[RecordedEvent]:
    return [recorded for recorded in evidence.events if recorded.event.type == kind]


def chained(events: Sequence[RecordedEvent]) -> list[RecordedEvent]:
    """The same events with hashes that fit."""
    heads: dict[Partition, str] = {}
    fitting = []
    for recorded in events:
        event = replace(recorded.event, previous_hash=heads.get(recorded.position.partition, GENESIS))
        event = replace(event, hash=hash_of(event))
        heads[recorded.position.partition] = event.hash
        fitting.append(RecordedEvent(event, recorded.position))
    return fitting


def altered(evidence: Evidence, old: RecordedEvent, fields: dict[str, Any] | None = None, **more: Any) -> Evidence:
    """One event says something else; whoever altered it could compute hashes."""
    if fields:
        more["payload"] = orjson.dumps({**said(old.event), **fields})
    new = RecordedEvent(replace(old.event, **more), old.position)
    return replace(evidence, events=chained([new if recorded == old else recorded for recorded in evidence.events]))


def answered(evidence: Evidence, command_id: UUID, change: Callable[[Outcome], Outcome | None]) -> Evidence:
    """The outcomes of one command say something else, or are gone."""
    kept = [change(outcome) if outcome.command_id == command_id else outcome for outcome in evidence.outcomes]
    return replace(evidence, outcomes=[outcome for outcome in kept if outcome])


def again(evidence: Evidence, command_id: UUID, as_id: UUID | None = None) -> Evidence:
    """A command comes into its lane once more, or once under another id."""
    commands = evidence.commands or ()
    one = next(taken for taken in commands if taken.body.command_id == command_id)
    return replace(evidence, commands=[*commands, replace(one, body=replace(one.body, command_id=as_id or command_id))])


def never_came(evidence: Evidence, command_id: UUID) -> Evidence:
    """Neither the command nor an outcome of it is anywhere."""
    commands = [taken for taken in evidence.commands or () if taken.body.command_id != command_id]
    return answered(replace(evidence, commands=commands), command_id, lambda outcome: None)


def with_rows(evidence: Evidence, table: str, rows: Sequence[Any]) -> Evidence:
    """These rows are in the table, and are again when it is built anew."""
    return replace(evidence, live={**evidence.live, table: rows}, rebuilt={**evidence.rebuilt, table: rows})


def followed(evidence: Evidence) -> Evidence:
    """Read models say what the log says by now; where it says nothing, what they said."""
    expected = rows_of(evidence.events, evidence.output or ())
    for table, wanted in expected.rows.items():
        unsaid = {key_of(table, row): row for row in evidence.live[table]}
        rows = wanted | {key: row for key, row in unsaid.items() if (table, key[0]) in expected.unsaid}
        evidence = with_rows(evidence, table, [rows[key] for key in sorted(rows)])
    return evidence


def accepted(evidence: Evidence) -> Told:
    return next(told for told in evidence.told if isinstance(told.result, Accepted) and told.result.event_ids)


def alone(evidence: Evidence) -> RecordedEvent:
    """A system's event that is the last of its stream and the only one of its command; raises `StopIteration`."""
    last = {recorded.event.stream: recorded for recorded in evidence.events}
    commands = [recorded.event.command_id for recorded in evidence.events]
    return next(e for e in last.values() if e.event.actor.kind == "system" and commands.count(e.event.command_id) == 1)


def step_finished(evidence: Evidence, started: RecordedEvent) -> RecordedEvent:
    at = ("step", "target", "attempt")
    wanted = [said(started.event)[name] for name in at]
    ends = [e for e in of_type(evidence, "StepFinished") if e.event.stream == started.event.stream]
    return next(e for e in ends if [said(e.event)[name] for name in at] == wanted)


def unseen(evidence: Evidence, step: RecordedEvent) -> Evidence:
    """No target saw this attempt."""
    mark = mark_of(name_of(step.event.stream), event_of(step.event))
    return replace(evidence, starts=[start for start in evidence.starts if start.mark != mark])


# --- one way to break each --------------------------------------------------------------------------------------------


def told_another_version(evidence: Evidence) -> Evidence:
    told = accepted(evidence)
    lie = Accepted(told.result.version + 1, told.result.event_ids)
    evidence = answered(evidence, told.command.command_id, lambda outcome: replace(outcome, result=lie))
    changed = [Told(t.command, lie) if t.result == told.result else t for t in evidence.told]
    return replace(evidence, told=changed)


def told_rejected(evidence: Evidence) -> Evidence:
    command = replace(accepted(evidence).command, fingerprint="somebody else's")
    return replace(evidence, told=[*evidence.told, Told(command, Rejected("version_conflict", "no"))])


def told_otherwise_the_second_time(evidence: Evidence) -> Evidence:
    first = next(outcome for outcome in evidence.outcomes if isinstance(outcome.result, Rejected))
    evidence = replace(evidence, outcomes=[*evidence.outcomes, replace(first, result=Rejected("other", "other"))])
    return again(evidence, first.command_id)


def one_command_in_two_streams(evidence: Evidence) -> Evidence:
    one, other = of_type(evidence, "RunClaimed")[:2]
    ids = (one.event.event_id, other.event.event_id)
    evidence = altered(evidence, other, command_id=one.event.command_id)
    evidence = never_came(evidence, other.event.command_id)
    both = Accepted(other.event.version, ids)
    return answered(evidence, one.event.command_id, lambda outcome: replace(outcome, result=both))


def swallowed(evidence: Evidence) -> Evidence:
    """A command that is to be refused is taken, and nobody ever writes what became of it."""
    refused = next(outcome for outcome in evidence.outcomes if isinstance(outcome.result, Rejected))
    return answered(evidence, refused.command_id, lambda outcome: None)


def decided_again(evidence: Evidence) -> Evidence:
    return replace(evidence, outcomes=[*evidence.outcomes, evidence.outcomes[0]])


def expecting(evidence: Evidence, outcome: Outcome, version: int) -> Evidence:
    """Whoever sent this command expected that version."""

    def expects(command: Any) -> Any:
        is_it = (command.command_id, command.fingerprint) == (outcome.command_id, outcome.fingerprint)
        return replace(command, expected_version=version) if is_it else command

    told = [replace(one, command=expects(one.command)) for one in evidence.told]
    return replace(evidence, told=told, commands=[replace(one, body=expects(one.body)) for one in evidence.commands or ()])


def accepted_at_another_version(evidence: Evidence) -> Evidence:
    done = next(o for o in evidence.outcomes if isinstance(o.result, Accepted) and o.result.event_ids)
    return expecting(evidence, done, done.result.version)


def nothing_to_do_at_another_version(evidence: Evidence) -> Evidence:
    idle = next(o for o in evidence.outcomes if isinstance(o.result, Accepted) and not o.result.event_ids)
    return expecting(evidence, idle, idle.result.version - 1)


def conflict_at_the_expected_version(evidence: Evidence) -> Evidence:
    number, refused = next((n, o) for n, o in enumerate(evidence.outcomes) if getattr(o.result, "code", "") == "version_conflict")
    before = (o.result for o in evidence.outcomes[:number] if o.stream == refused.stream)
    return expecting(evidence, refused, max((result.version for result in before if isinstance(result, Accepted)), default=0))


def no_outcome(evidence: Evidence) -> Evidence:
    return never_came(evidence, alone(evidence).event.command_id)


def outcome_without_events(evidence: Evidence) -> Evidence:
    kept = next(o for o in evidence.outcomes if isinstance(o.result, Accepted))
    evidence = replace(evidence, outcomes=[*evidence.outcomes, replace(kept, command_id=NOBODY)])
    return again(evidence, kept.command_id, as_id=NOBODY)


def skipped_version(evidence: Evidence) -> Evidence:
    last = alone(evidence)
    return altered(evidence, last, version=last.event.version + 1)


def wrong_hash(evidence: Evidence) -> Evidence:
    last = evidence.events[-1]
    return replace(evidence, events=[*evidence.events[:-1], RecordedEvent(replace(last.event, hash="0" * 64), last.position)])


def unknown_cause(evidence: Evidence) -> Evidence:
    return altered(evidence, alone(evidence), causation_id=NOBODY)


def no_cause(evidence: Evidence) -> Evidence:
    return altered(evidence, alone(evidence), causation_id=None)


def other_correlation(evidence: Evidence) -> Evidence:
    return altered(evidence, alone(evidence), correlation_id="another")


def started_twice(evidence: Evidence) -> Evidence:
    second = next(e for e in of_type(evidence, "StepStarted") if said(e.event)["attempt"] == 2)
    evidence = unseen(evidence, second)
    evidence = altered(evidence, step_finished(evidence, second), {"exit_code": None})
    return altered(evidence, next(e for e in evidence.events if e.position == second.position), {"attempt": 1})


def began_twice(evidence: Evidence) -> Evidence:
    return replace(evidence, starts=[*evidence.starts, evidence.starts[0]])


def began_unintended(evidence: Evidence) -> Evidence:
    return replace(evidence, starts=[*evidence.starts, replace(evidence.starts[0], mark="ops-0")])


def began_too_early(evidence: Evidence) -> Evidence:
    early = replace(evidence.starts[0], visible=dict.fromkeys(evidence.starts[0].visible, 0))
    return replace(evidence, starts=[early, *evidence.starts[1:]])


def ended_but_never_began(evidence: Evidence) -> Evidence:
    ended = next(e for e in of_type(evidence, "StepFinished") if said(e.event)["exit_code"] == 0)
    return unseen(evidence, ended)


def still_there(evidence: Evidence) -> Evidence:
    ended = next(e for e in of_type(evidence, "StepFinished") if said(e.event)["state"] == "succeeded")
    return replace(evidence, still_running={mark_of(name_of(ended.event.stream), event_of(ended.event))})


def never_ended(evidence: Evidence) -> Evidence:
    last = {recorded.event.stream: recorded for recorded in evidence.events}
    system = (e for e in last.values() if e.event.type == "RunFinished" and e.event.actor.kind == "system")
    end = next(system).event
    evidence = replace(evidence, events=chained([e for e in evidence.events if e.event.event_id != end.event_id]))

    def without(outcome: Outcome) -> Outcome:
        assert isinstance(outcome.result, Accepted)
        return replace(outcome, result=Accepted(outcome.result.version - 1, outcome.result.event_ids[:-1]))

    return answered(evidence, end.command_id, without)


def check_without_a_result(evidence: Evidence) -> Evidence:
    asked = of_type(evidence, "TargetCheckRequested")[0]
    return altered(evidence, asked, {"check": "another"})


def does_not_fit(evidence: Evidence) -> Evidence:
    return altered(evidence, of_type(evidence, "StepFinished")[0], {"target": "nowhere", "exit_code": None})


def another_row(evidence: Evidence) -> Evidence:
    """What is built anew is not what is there, which is what the log says."""
    rows = [{**evidence.rebuilt["targets"][0], "updated_at": "another time"}, *evidence.rebuilt["targets"][1:]]
    return replace(evidence, rebuilt={**evidence.rebuilt, "targets": rows})


def a_row_less(evidence: Evidence) -> Evidence:
    return replace(evidence, rebuilt={**evidence.rebuilt, "run_output": evidence.rebuilt["run_output"][:-1]})


def otherwise(table: str, **columns: Any) -> Callable[[Evidence], Evidence]:
    """The first row of a table says something else, however often it is built anew."""

    def broken(evidence: Evidence) -> Evidence:
        first, *others = evidence.live[table]
        return with_rows(evidence, table, [{**first, **columns}, *others])

    broken.__name__ = f"{table}_with_another_{'_and_'.join(columns)}"
    return broken


def no_run_in_any_row(evidence: Evidence) -> Evidence:
    return with_rows(evidence, "runs", [])


def not_settled(evidence: Evidence) -> Evidence:
    return replace(evidence, unsettled=["commands are not decided"])


def stopped(evidence: Evidence) -> Evidence:
    return replace(evidence, stopped_projections=["runs: poison"])


EVERY_SECOND = tuple(float(second) for second in range(30))


def lost_in_spite_of_its_heartbeats(evidence: Evidence) -> Evidence:
    return expired(evidence, [Beat("executor-x", at, False) for at in EVERY_SECOND], EVERY_SECOND)


def expired(evidence: Evidence, beats: list[Beat], looked: Sequence[float]) -> Evidence:
    return replace(evidence, beats=beats, expiries=[Expiry("a run", "executor-x", looked)])


def unforeseen(evidence: Evidence) -> Evidence:
    return replace(evidence, unforeseen=["owner-a ended: KeyError"])


CASES: list[tuple[str, Callable[[Evidence], Evidence]]] = [
    ("ok_is_there_once", told_another_version),
    ("rejected_is_never_there", told_rejected),
    ("told_alike", told_otherwise_the_second_time),
    ("every_command_is_decided_once", swallowed),
    ("every_command_is_decided_once", decided_again),
    ("expected_versions_are_kept", accepted_at_another_version),
    ("expected_versions_are_kept", nothing_to_do_at_another_version),
    ("expected_versions_are_kept", conflict_at_the_expected_version),
    ("unknown_is_one_or_none", one_command_in_two_streams),
    ("outcomes_agree_with_events", no_outcome),
    ("outcomes_agree_with_events", outcome_without_events),
    ("versions_are_gapless", skipped_version),
    ("chain_is_unbroken", wrong_hash),
    ("causes_are_complete", unknown_cause),
    ("causes_are_complete", no_cause),
    ("causes_are_complete", other_correlation),
    ("attempts_start_once", started_twice),
    ("targets_saw_each_attempt_once", began_twice),
    ("targets_saw_only_intents", began_unintended),
    ("targets_saw_only_intents", began_too_early),
    ("what_succeeded_was_seen", ended_but_never_began),
    ("what_is_told_dead_is_dead", still_there),
    ("runs_end", never_ended),
    ("the_living_keep_their_claims", lost_in_spite_of_its_heartbeats),
    ("checks_end", check_without_a_result),
    ("events_fold", does_not_fit),
    ("read_models_are_the_log", another_row),
    ("read_models_are_the_log", a_row_less),
    ("read_models_are_the_log", stopped),
    ("rows_say_what_the_log_says", otherwise("targets", title="another")),
    ("rows_say_what_the_log_says", otherwise("targets", version=99)),
    ("rows_say_what_the_log_says", otherwise("credentials", revision=99)),
    ("rows_say_what_the_log_says", otherwise("jobs", definition={})),
    ("rows_say_what_the_log_says", otherwise("runs", state="refused")),
    ("rows_say_what_the_log_says", otherwise("runs", counts={"succeeded": 99})),
    ("rows_say_what_the_log_says", otherwise("run_steps", state="another", exit_code=99)),
    ("rows_say_what_the_log_says", otherwise("run_output", text="another")),
    ("rows_say_what_the_log_says", otherwise("events", payload="{}")),
    ("rows_say_what_the_log_says", otherwise("job_results", runs=99)),
    ("rows_say_what_the_log_says", otherwise("job_revisions", author="another")),
    ("rows_say_what_the_log_says", otherwise("target_labels", value="another")),
    ("rows_say_what_the_log_says", no_run_in_any_row),
    ("settles", not_settled),
    ("nothing_unforeseen", unforeseen),
]


@pytest.mark.parametrize(("invariant", "break_it"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_what_breaks_one_invariant_is_named_by_it_alone(
    sound: Evidence, invariant: str, break_it: Callable[[Evidence], Evidence]
) -> None:
    broken = break_it(sound)
    if broken.live is sound.live and broken.rebuilt is sound.rebuilt:
        broken = followed(broken)  # what is wrong with the log is not wrong with the rows
    assert {found.invariant for found in violations(broken)} == {invariant}


def test_an_executor_that_was_silent_or_leaves_or_was_not_listened_to_may_lose_its_claims(sound: Evidence) -> None:
    gap = [Beat("executor-x", at, False) for at in EVERY_SECOND if not 24 < at < 28]
    leaving = [Beat("executor-x", at, at == 29) for at in EVERY_SECOND]
    alive = [Beat("executor-x", at, False) for at in EVERY_SECOND]
    away = [at for at in EVERY_SECOND if not 24 < at < 28]
    for beats, looked in ((gap, EVERY_SECOND), (leaving, EVERY_SECOND), ([], EVERY_SECOND), (alive, away)):
        assert not violations(expired(sound, beats, looked))


@pytest.mark.parametrize("table", KEYS)
def test_no_row_may_be_missing_or_be_one_too_many_in_any_table(sound: Evidence, table: str) -> None:
    """Live or built anew: both ways of making rows may have the same bug."""
    rows = list(sound.live[table])
    more = [*rows, dict.fromkeys(KEYS[table], "another")]
    for wrong in (rows[:-1], rows[1:], more) if rows else (more,):
        assert {found.invariant for found in violations(with_rows(sound, table, wrong))} == {"rows_say_what_the_log_says"}


def test_a_users_row_is_held_against_the_log(sound: Evidence) -> None:
    """Nobody is a user in the simulation."""
    said: list[tuple[str, Any]] = [
        ("UserCreated", {"name": "eve", "password": "p", "title": ""}),
        ("RoleGranted", {"role": "auditor"}),
        ("SignedIn", {"session": "s"}),
    ]
    one = sound.events[0]
    made = [replace(one.event, stream="user/eve", type=kind, payload=orjson.dumps(fields)) for kind, fields in said]
    log = replace(sound, events=[RecordedEvent(event, one.position) for event in made])
    row = rows_of(log.events, ()).rows["users"]["eve",]
    log = replace(log, live={"users": [row]})
    assert not list(rows_say_what_the_log_says(log))
    assert (row["roles"], row["sessions"], row["version"]) == (["auditor"], ["s"], 3)
    for column, wrong in (("title", "Eve"), ("password", "q"), ("roles", []), ("disabled", True), ("sessions", [])):
        assert list(rows_say_what_the_log_says(replace(log, live={"users": [{**row, column: wrong}]})))


def test_every_invariant_is_broken_once() -> None:
    assert {invariant for invariant, _ in CASES} == set(INVARIANTS)

"""Does the checker name exactly the invariant that a history breaks? Each time a sound history is broken in one way."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import orjson
import pytest

from domain.identity import job_of, name_of
from schemas.event_envelope import RecordedEvent
from schemas.event_types import event_of
from schemas.outcome import Accepted, Outcome, Rejected
from tests.simulation import broken_commands, broken_runs
from tests.simulation.changed import (
    NOBODY,
    accepted,
    again,
    alone,
    altered,
    answered,
    chained,
    followed,
    never_came,
    of_type,
    said,
    sent_as,
    step_finished,
    unseen,
    with_a_gap,
    with_rows,
)
from tests.support.checker import INVARIANTS, rows_say_what_the_log_says, violations
from tests.support.evidence import Beat, Evidence, Expiry, Told, mark_of
from tests.support.rows_of_log import KEYS, rows_of
from tests.support.simulation import simulate

SEEDS = (14, *range(500))
"""The first had all that is broken here when this was written; if changed code has other histories, the next ones have."""


@cache
def lived(seed: int) -> Evidence | None:
    """A sound history."""
    run = simulate(seed)
    return None if run.violations else run.evidence


def histories() -> Iterator[Evidence]:
    """Sound ones, one after the other."""
    return (evidence for evidence in map(lived, SEEDS) if evidence is not None)


@pytest.fixture(scope="module")
def sound() -> Evidence:
    """Any of them."""
    return next(histories())


def broken_by(break_it: Callable[[Evidence], Evidence]) -> Evidence:
    """The first that has what is broken, broken."""
    for evidence in histories():
        try:
            broken = break_it(evidence)
        except (StopIteration, IndexError):
            continue
        has_its_rows = broken.live is evidence.live and broken.rebuilt is evidence.rebuilt
        return followed(broken) if has_its_rows else broken  # what is wrong with the log is not wrong with the rows
    raise AssertionError("no history has what is to be broken")


# --- one way to break each --------------------------------------------------------------------------------------------


def told_another_version(evidence: Evidence) -> Evidence:
    told = accepted(evidence)
    lie = Accepted(told.result.version + 1, told.result.event_ids)
    evidence = answered(evidence, told.command.command_id, lambda outcome: replace(outcome, result=lie))
    changed = [Told(t.command, lie) if t.result == told.result else t for t in evidence.told]
    return replace(evidence, told=changed)


def told_rejected(evidence: Evidence) -> Evidence:
    """Another command under a used id is refused for a reason of its own, and the events are there."""
    first = accepted(evidence).command
    command, result = replace(first, fingerprint="somebody else's"), Rejected("version_conflict", "no")
    one = next(taken for taken in evidence.commands or () if taken.body.command_id == first.command_id)
    outcome = next(outcome for outcome in evidence.outcomes if outcome.command_id == first.command_id)
    return replace(
        evidence,
        told=[*evidence.told, Told(command, result)],
        commands=[*(evidence.commands or ()), replace(one, body=command)],
        outcomes=[*evidence.outcomes, replace(outcome, fingerprint=command.fingerprint, result=result)],
    )


def told_otherwise_the_second_time(evidence: Evidence) -> Evidence:
    first = next(outcome for outcome in evidence.outcomes if isinstance(outcome.result, Rejected))
    evidence = replace(evidence, outcomes=[*evidence.outcomes, replace(first, result=Rejected("other", "other"))])
    return again(evidence, first.command_id)


def one_command_with_a_gap(evidence: Evidence) -> Evidence:
    """Events that do not follow each other are of one command."""
    one, other = with_a_gap(evidence)
    carried = ("command_id", "actor", "on_behalf_of", "time", "correlation_id", "causation_id", "traceparent")
    evidence = altered(evidence, other, **{name: getattr(one.event, name) for name in carried})
    evidence = never_came(evidence, other.event.command_id)
    both = Accepted(other.event.version, (one.event.event_id, other.event.event_id))
    return answered(evidence, one.event.command_id, lambda outcome: replace(outcome, result=both))


def swallowed(evidence: Evidence) -> Evidence:
    """A command that is to be refused is taken, and nobody ever writes what became of it."""
    refused = next(outcome for outcome in evidence.outcomes if isinstance(outcome.result, Rejected))
    unheard = [replace(t, result=None) if t.command.command_id == refused.command_id else t for t in evidence.told]
    return answered(replace(evidence, told=unheard), refused.command_id, lambda outcome: None)


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
    kept = next(o for o in evidence.outcomes if isinstance(o.result, Accepted) and o.actor.kind == "system")
    evidence = replace(evidence, outcomes=[*evidence.outcomes, replace(kept, command_id=NOBODY)])
    return again(evidence, kept.command_id, as_id=NOBODY)


def skipped_version(evidence: Evidence) -> Evidence:
    last = alone(evidence)
    return altered(evidence, last, version=last.event.version + 1)


def wrong_hash(evidence: Evidence) -> Evidence:
    last = evidence.events[-1]
    return replace(evidence, events=[*evidence.events[:-1], RecordedEvent(replace(last.event, hash="0" * 64), last.position)])


def unknown_cause(evidence: Evidence) -> Evidence:
    return sent_as(evidence, alone(evidence), causation_id=NOBODY)


def no_cause(evidence: Evidence) -> Evidence:
    return sent_as(evidence, alone(evidence), causation_id=None)


def other_correlation(evidence: Evidence) -> Evidence:
    return sent_as(evidence, alone(evidence), correlation_id="another")


def started_twice(evidence: Evidence) -> Evidence:
    second = next(e for e in of_type(evidence, "StepStarted") if said(e.event)["attempt"] == 2)
    evidence = unseen(evidence, second)
    evidence = altered(evidence, step_finished(evidence, second), {"exit_code": None, "output_end": None})
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


def _requested_after(evidence: Evidence, end: RecordedEvent) -> list[RecordedEvent]:
    """Runs of the same job that were requested or claimed after this one's end."""
    job = job_of(name_of(end.event.stream))
    later = [*of_type(evidence, "RunRequested"), *of_type(evidence, "RunClaimed")]
    return [e for e in later if job_of(name_of(e.event.stream)) == job and e.position.offset > end.position.offset]


def never_ended(evidence: Evidence) -> Evidence:
    last = {recorded.event.stream: recorded for recorded in evidence.events}
    ends = [e for e in last.values() if e.event.type == "RunFinished" and e.event.actor.kind == "system"]
    end = next(e for e in ends if not _requested_after(evidence, e)).event
    evidence = replace(evidence, events=chained([e for e in evidence.events if e.event.event_id != end.event_id]))

    def without(outcome: Outcome) -> Outcome:
        assert isinstance(outcome.result, Accepted)
        return replace(outcome, result=Accepted(outcome.result.version - 1, outcome.result.event_ids[:-1]))

    return answered(evidence, end.command_id, without)


def check_without_a_result(evidence: Evidence) -> Evidence:
    asked = of_type(evidence, "TargetCheckRequested")[0]
    return altered(evidence, asked, {"check": "another"})


def does_not_fit(evidence: Evidence) -> Evidence:
    last = next(e for e in of_type(evidence, "StepFinished") if not said(e.event)["retry"])
    return altered(evidence, last, {"target": "nowhere", "exit_code": None, "output_end": None})


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
    ("what_is_told_is_of_that_command", broken_commands.told_what_became_of_another),
    ("what_is_told_is_of_that_command", broken_commands.told_reused_by_nobody),
    ("nothing_nobody_asked_for", broken_commands.asked_by_nobody),
    ("nothing_nobody_asked_for", broken_commands.sent_otherwise),
    ("events_are_of_their_commands", broken_commands.by_another_actor),
    ("events_are_of_their_commands", broken_commands.on_behalf_of_somebody),
    ("events_are_of_their_commands", broken_commands.outcome_of_another_actor),
    ("every_command_is_decided_once", swallowed),
    ("every_command_is_decided_once", decided_again),
    ("expected_versions_are_kept", accepted_at_another_version),
    ("expected_versions_are_kept", nothing_to_do_at_another_version),
    ("expected_versions_are_kept", conflict_at_the_expected_version),
    ("unknown_is_one_or_none", one_command_with_a_gap),
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
    ("attempts_are_as_the_job_says", broken_runs.tried_again_after_a_success),
    ("attempts_are_as_the_job_says", broken_runs.tried_again_without_a_reason),
    ("overlaps_are_as_the_job_says", broken_runs.waits_for_nobody),
    ("overlaps_are_as_the_job_says", broken_runs.waits_for_more),
    ("overlaps_are_as_the_job_says", broken_runs.overlaps_though_forbidden),
    ("overlaps_are_as_the_job_says", broken_runs.claimed_before_those_it_waits_for),
    ("overlaps_are_as_the_job_says", broken_runs.refused_for_a_run_that_is_not_there),
    ("only_the_holder_changes_a_run", broken_runs.reported_under_another_epoch),
    ("only_the_holder_changes_a_run", broken_runs.planned_by_another_executor),
    ("only_the_holder_changes_a_run", broken_runs.late_report_of_the_holder),
    ("only_the_holder_changes_a_run", broken_runs.started_under_another_epoch),
    ("output_is_what_targets_wrote", broken_runs.output_of_nothing),
    ("output_is_what_targets_wrote", broken_runs.output_that_was_never_written),
    ("output_is_what_targets_wrote", broken_runs.output_twice_and_not_the_same),
    ("output_is_what_targets_wrote", broken_runs.output_that_got_lost),
    ("output_is_what_targets_wrote", broken_runs.output_told_before_it_was_there),
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
def test_what_breaks_one_invariant_is_named_by_it_alone(invariant: str, break_it: Callable[[Evidence], Evidence]) -> None:
    assert {found.invariant for found in violations(broken_by(break_it))} == {invariant}


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

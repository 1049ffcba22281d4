"""Does what was recorded keep what DESIGN §7 promises? Pure: from the evidence of one run of the system to its violations.

Each invariant is one function of the table at the end, from the evidence to the sentences that say what breaks it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID

from commands.deciders import TABLE
from domain.audit.hash_chain import GENESIS
from domain.identity import RUN, kind_of
from domain.run.messages import RunFinished, StepFinished, StepStarted
from schemas.actor import system
from schemas.command_envelope import CommandEnvelope
from schemas.event_envelope import EventEnvelope, RecordedEvent, hash_of
from schemas.event_types import event_of
from schemas.outcome import REUSED, Accepted, Outcome, Rejected
from schemas.position import Partition, Position
from tests.support.asked import events_are_of_their_commands, nothing_nobody_asked_for, what_is_told_is_of_that_command
from tests.support.evidence import Broken, Evidence, Told, mark_of, run_events
from tests.support.rows_of_log import key_of, rows_of
from tests.support.run_rules import attempts_are_as_the_job_says, only_the_holder_changes_a_run, overlaps_are_as_the_job_says
from tests.support.written import output_is_what_targets_wrote

UNCAUSED = (system("setup"), system("vault"))
"""Who does what nothing in the log can have caused: makes the first administrator, tells of the operator's master keys."""


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant by its name in the table, and what breaks it."""

    invariant: str
    what: str


# --- commands ---------------------------------------------------------------------------------------------------------


def _by_command(evidence: Evidence) -> dict[UUID, list[EventEnvelope]]:
    found: dict[UUID, list[EventEnvelope]] = defaultdict(list)
    for recorded in evidence.events:
        found[recorded.event.command_id].append(recorded.event)
    return found


def ok_is_there_once(evidence: Evidence) -> Broken:
    """Every accepted command's events stand in the log exactly once, and end at the version that was told."""
    caused = _by_command(evidence)
    for told in evidence.told:
        if isinstance(told.result, Accepted):
            events = caused[told.command.command_id]
            if Counter(e.event_id for e in events) != Counter(told.result.event_ids):
                yield f"{_named(told)} was told {len(told.result.event_ids)} events, the log has {len(events)}"
            elif events and events[-1].version != told.result.version:
                yield f"{_named(told)} was told version {told.result.version}, its last event has {events[-1].version}"


def rejected_is_never_there(evidence: Evidence) -> Broken:
    """A rejected command has no event. (What reused an id has none of its own: those under the id are of its first user.)"""
    caused = _by_command(evidence)
    for told in evidence.told:
        if isinstance(told.result, Rejected) and told.result.code != REUSED.code and caused[told.command.command_id]:
            yield f"{_named(told)} was rejected with {told.result.code}, and the log has its events"


def told_alike(evidence: Evidence) -> Broken:
    """One command has one result, however often it is sent and whoever asks; accepted or rejected, never both."""
    results: dict[tuple[UUID, str], set[Accepted | Rejected]] = defaultdict(set)
    for told in evidence.told:
        if told.result is not None:
            results[told.command.command_id, told.command.fingerprint].add(told.result)
    for outcome in evidence.outcomes:
        results[outcome.command_id, outcome.fingerprint].add(outcome.result)
    for (command_id, _), found in results.items():
        if len(found) > 1:
            yield f"command {command_id} has {len(found)} results: {sorted(map(repr, found))}"


def every_command_is_decided_once(evidence: Evidence) -> Broken:
    """Whatever came into a lane has an outcome, as often as it came, and nothing else has one: what is unknown is resolved."""
    if evidence.commands is not None:
        came = ((at.body.command_id, f"{at.position}") for at in evidence.commands if isinstance(at.body, CommandEnvelope))
        decided = ((outcome.command_id, f"{outcome.result}") for outcome in evidence.outcomes if outcome.type)
        yield from not_decided_once(came, decided)


def not_decided_once(came: Iterable[tuple[UUID, str]], decided: Iterable[tuple[UUID, str]]) -> Broken:
    """Of commands that came and of outcomes, each with what is to be said of it, those of which there are not as many of both."""
    arrivals, decisions = _together(came), _together(decided)
    for command_id in arrivals | decisions:
        if len(arrivals.get(command_id, ())) != len(decisions.get(command_id, ())):
            yield f"command {command_id} came at {arrivals.get(command_id, [])} and was decided: {decisions.get(command_id, [])}"


def _together(said: Iterable[tuple[UUID, str]]) -> dict[UUID, list[str]]:
    found: dict[UUID, list[str]] = defaultdict(list)
    for command_id, what in said:
        found[command_id].append(what)
    return found


def expected_versions_are_kept(evidence: Evidence) -> Broken:
    """What is accepted under an expected version comes right after it, and is a conflict only if the version was another one."""
    commands = [told.command for told in evidence.told]
    commands += [taken.body for taken in evidence.commands or () if isinstance(taken.body, CommandEnvelope)]
    expected = {(command.command_id, command.fingerprint): command.expected_version for command in commands}
    yield from misplaced(evidence.outcomes, evidence.events, lambda o: expected.get((o.command_id, o.fingerprint)))


def misplaced(
    outcomes: Iterable[Outcome], events: Iterable[RecordedEvent], expected_by: Callable[[Outcome], int | None]
) -> Broken:
    """Outcomes, each stream's in the order of its decisions, that do not fit the version their commands expected."""
    first: dict[UUID, int] = {}
    for recorded in events:
        first.setdefault(recorded.event.command_id, recorded.event.version)
    at, seen = Counter[str](), set[UUID]()
    for outcome in outcomes:
        result, expected = outcome.result, expected_by(outcome)
        if outcome.command_id in seen:
            continue
        seen.add(outcome.command_id)
        before = at[outcome.stream]
        if isinstance(result, Accepted):
            before = first[outcome.command_id] - 1 if outcome.command_id in first else result.version
            at[outcome.stream] = result.version
        if expected is not None and (_is_conflict(result) if before == expected else isinstance(result, Accepted)):
            yield f"{outcome.type} {outcome.command_id} expected version {expected} of {outcome.stream}, at {before}: {result}"


def _is_conflict(result: Accepted | Rejected) -> bool:
    return isinstance(result, Rejected) and result.code == "version_conflict"


def unknown_is_one_or_none(evidence: Evidence) -> Broken:
    """What one command caused stands in the log at most once, whatever its sender knows of it."""
    for command_id, events in _by_command(evidence).items():
        numbers = [event.version for event in events]
        doubled = len({event.event_id for event in events}) < len(events)
        if doubled or len({e.stream for e in events}) > 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            yield f"command {command_id} caused {[(e.stream, e.version, e.type) for e in events]}"


def outcomes_agree_with_events(evidence: Evidence) -> Broken:
    """Every event is named by its command's outcome, and every accepted outcome's events are there."""
    caused = _by_command(evidence)
    first: dict[UUID, Outcome] = {}
    for outcome in evidence.outcomes:
        first.setdefault(outcome.command_id, outcome)
    for outcome in first.values():
        named = outcome.result.event_ids if isinstance(outcome.result, Accepted) else ()
        if [e.event_id for e in caused[outcome.command_id]] != list(named):
            yield f"the outcome of {outcome.type} {outcome.command_id} names other events than the log has"
    for command_id, events in caused.items():
        if events and command_id not in first:
            yield f"{events[0].type} of {events[0].stream} has no outcome"


def _named(told: Told) -> str:
    return f"{told.command.type} {told.command.command_id} to {told.command.stream}"


# --- log --------------------------------------------------------------------------------------------------------------


def versions_are_gapless(evidence: Evidence) -> Broken:
    """A stream's versions are 1, 2, 3, …"""
    at: Counter[str] = Counter()
    for recorded in evidence.events:
        event = recorded.event
        if event.version != at[event.stream] + 1:
            yield f"{recorded.position}: version {event.version} of {event.stream} follows {at[event.stream]}"
        at[event.stream] = event.version


def chain_is_unbroken(evidence: Evidence) -> Broken:
    """Each event carries its own hash and that of the one before it in its partition."""
    heads: dict[Partition, str] = {}
    for recorded in evidence.events:
        event, partition = recorded.event, recorded.position.partition
        if event.previous_hash != heads.get(partition, GENESIS):
            yield f"{recorded.position} does not follow the event before it"
        if event.hash != hash_of(event):
            yield f"{recorded.position} is not what was hashed"
        heads[partition] = event.hash


def causes_are_complete(evidence: Evidence) -> Broken:
    """A system's event names the event that caused it; one correlation goes from the cause, or from the run's request, on."""
    known = {recorded.event.event_id: recorded.event for recorded in evidence.events}
    begun: dict[str, EventEnvelope] = {}
    for recorded in evidence.events:
        event = recorded.event
        begun.setdefault(event.stream, event)
        cause = known.get(event.causation_id) if event.causation_id else None
        if event.causation_id is not None and cause is None:
            yield f"{recorded.position}: the event that caused {event.type} of {event.stream} is not in the log"
        if event.actor.kind != "system":
            continue
        if event.causation_id is None and event.actor not in UNCAUSED:
            yield f"{recorded.position}: {event.type} of {event.stream} has no cause"
        expected = {e.correlation_id for e in (cause, begun[event.stream] if kind_of(event.stream) == RUN else None) if e}
        if expected and event.correlation_id not in expected:
            yield f"{recorded.position}: {event.type} of {event.stream} has correlation {event.correlation_id}, not {expected}"


# --- runs -------------------------------------------------------------------------------------------------------------


def attempts_start_once(evidence: Evidence) -> Broken:
    """At most one StepStarted for each run, step, target and attempt."""
    started = Counter((run, e.step, e.target, e.attempt) for run, _, e in run_events(evidence) if isinstance(e, StepStarted))
    yield from (f"{attempt} was started {times} times" for attempt, times in started.items() if times > 1)


def targets_saw_each_attempt_once(evidence: Evidence) -> Broken:
    """No attempt really began twice."""
    seen = Counter((start.mark, start.target) for start in evidence.starts)
    yield from (f"{mark} began {times} times on {target}" for (mark, target), times in seen.items() if times > 1)


def targets_saw_only_intents(evidence: Evidence) -> Broken:
    """No attempt began before its StepStarted could be read in the log."""
    intents: dict[str, tuple[Position, str]] = {}
    for run, position, event in run_events(evidence):
        if isinstance(event, StepStarted):
            intents.setdefault(mark_of(run, event), (position, event.target))
    for start in evidence.starts:
        intent = intents.get(start.mark)
        if intent is None or intent[1] != start.target:
            yield f"{start.mark} began on {start.target} and was never intended"
        elif intent[0].offset >= start.visible[intent[0].partition]:
            yield f"{start.mark} began on {start.target} before its intent at {intent[0]} could be read"


def what_succeeded_was_seen(evidence: Evidence) -> Broken:
    """A step that ended by itself did begin on its target."""
    seen = {start.mark for start in evidence.starts}
    for run, position, event in run_events(evidence):
        if isinstance(event, StepFinished) and event.exit_code is not None and mark_of(run, event) not in seen:
            yield f"{position}: step {event.step} of {run} ended on {event.target}, which never saw it"


def what_is_told_dead_is_dead(evidence: Evidence) -> Broken:
    """A step with any end but `lost` does not run on its target any more."""
    for run, position, event in run_events(evidence):
        if isinstance(event, StepFinished) and event.state != "lost" and mark_of(run, event) in evidence.still_running:
            yield f"{position}: step {event.step} of {run} is {event.state} and still runs on {event.target}"


def runs_end(evidence: Evidence) -> Broken:
    """Long after everything is healed no run is unfinished; and a run ends once."""
    finished: Counter[str] = Counter()
    for run, _, event in run_events(evidence):
        finished[run] += isinstance(event, RunFinished)
    yield from (f"run {run} ended {times} times" for run, times in finished.items() if times != 1)


STEADY_S = 2.0
"""What beats, or looks, no more than this apart is steady: a silence of a lease cannot lie between."""


def the_living_keep_their_claims(evidence: Evidence) -> Broken:
    """No claim is ended for silence when its executor's heartbeats came steadily and its sweeper looked steadily."""
    for expiry in evidence.expiries:
        until = expiry.looked_s[-1]
        since = until - evidence.lease_s
        beats = [beat for beat in evidence.beats if beat.executor == expiry.executor and beat.at_s <= until]
        if (
            not any(b.leaving for b in beats)
            and _steady([b.at_s for b in beats], since, until)
            and _steady(expiry.looked_s, since, until)
        ):
            yield f"{expiry.executor} lost {expiry.run} at {until:.1f} s; its last heartbeat came at {beats[-1].at_s:.1f} s"


def _steady(moments: Sequence[float], since: float, until: float) -> bool:
    """Whether there is no gap from `since` to `until`."""
    inside = [moment for moment in moments if since < moment < until]
    return all(later - earlier <= STEADY_S for earlier, later in pairwise([since, *inside, until]))


def checks_end(evidence: Evidence) -> Broken:
    """Every check of a target that was asked for has a result, and one."""
    results: Counter[tuple[str, str]] = Counter()
    for recorded in evidence.events:
        if recorded.event.type in ("TargetCheckRequested", "TargetChecked"):
            results[recorded.event.stream, event_of(recorded.event).check] += recorded.event.type == "TargetChecked"
    yield from (f"check {check} of {stream} has {times} results" for (stream, check), times in results.items() if times != 1)


# --- read models ------------------------------------------------------------------------------------------------------


def read_models_are_the_log(evidence: Evidence) -> Broken:
    """Live rows equal those built anew from the log, and no projection has stopped."""
    yield from (f"projection {name} has stopped" for name in evidence.stopped_projections)
    for table in sorted(evidence.live.keys() | evidence.rebuilt.keys()):
        live, rebuilt = evidence.live.get(table, ()), evidence.rebuilt.get(table, ())
        if list(live) != list(rebuilt):
            differing = [pair for pair in zip(live, rebuilt, strict=False) if pair[0] != pair[1]][:1]
            yield f"{table} has {len(live)} rows, rebuilt {len(rebuilt)}; the first that differs: {differing}"


def rows_say_what_the_log_says(evidence: Evidence) -> Broken:
    """Every table has the rows that a plain reading of the log gives it, which shares no code with the projections."""
    expected = rows_of(evidence.events, evidence.output or ())
    for table, wanted in expected.rows.items():
        if table not in evidence.live or (table == "run_output" and evidence.output is None):
            continue  # what was not settled, and output that nobody reads from the log, was not read
        rows = {key_of(table, row): row for row in evidence.live[table]}
        for key in sorted(rows.keys() | wanted.keys()):
            row, said = rows.get(key), wanted.get(key)
            if row == said or (table, key[0]) in expected.unsaid:
                continue
            if row is None or said is None:
                yield f"{table} {key} is {'in the log and in no row' if row is None else 'in a row and not in the log'}"
            else:
                differing = {name: (row.get(name), said.get(name)) for name in row | said if row.get(name) != said.get(name)}
                yield f"{table} {key}: in the row and in the log: {differing}"


def events_fold(evidence: Evidence) -> Broken:
    """Every stream's events can be folded by its decider, in their order."""
    states: dict[str, Any] = {}
    for recorded in evidence.events:
        decider, stream = TABLE[kind_of(recorded.event.stream)].decider, recorded.event.stream
        try:
            states[stream] = decider.fold(states.get(stream, decider.initial_state), [event_of(recorded.event)])
        except Exception as error:
            yield f"{recorded.position}: {recorded.event.type} does not fit {stream}: {error!r}"


def settles(evidence: Evidence) -> Broken:
    """Once everything is healed, whatever was begun comes to its end in the time allowed."""
    yield from evidence.unsettled


def nothing_unforeseen(evidence: Evidence) -> Broken:
    """No role ends by itself and no part has an error nobody foresaw."""
    yield from evidence.unforeseen


INVARIANTS: Mapping[str, Callable[[Evidence], Broken]] = {
    check.__name__: check
    for check in (
        ok_is_there_once,
        rejected_is_never_there,
        told_alike,
        what_is_told_is_of_that_command,
        nothing_nobody_asked_for,
        events_are_of_their_commands,
        every_command_is_decided_once,
        expected_versions_are_kept,
        unknown_is_one_or_none,
        outcomes_agree_with_events,
        versions_are_gapless,
        chain_is_unbroken,
        causes_are_complete,
        attempts_start_once,
        targets_saw_each_attempt_once,
        targets_saw_only_intents,
        what_succeeded_was_seen,
        what_is_told_dead_is_dead,
        attempts_are_as_the_job_says,
        overlaps_are_as_the_job_says,
        only_the_holder_changes_a_run,
        output_is_what_targets_wrote,
        runs_end,
        the_living_keep_their_claims,
        checks_end,
        events_fold,
        read_models_are_the_log,
        rows_say_what_the_log_says,
        settles,
        nothing_unforeseen,
    )
}


def violations(evidence: Evidence) -> list[Violation]:
    """Everything that is wrong, each with the invariant it breaks."""
    return [Violation(name, what) for name, check in INVARIANTS.items() for what in check(evidence)]

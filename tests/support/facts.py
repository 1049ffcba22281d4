"""How many facts did each invariant look at? One that looked at none has checked nothing, and is not told as checked.

Pure: by an invariant's name, from the evidence to the number of things about which it could have said something.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from domain.run.messages import StepFinished, StepStarted
from schemas.event_types import event_of
from schemas.outcome import Accepted, Rejected
from schemas.topics import COMMANDS_PEOPLE
from tests.support.evidence import Evidence


def size(things: Iterable[Any]) -> int:
    """How many there are."""
    return sum(1 for _ in things)


def _told(evidence: Evidence, result: type) -> int:
    return size(told for told in evidence.told if isinstance(told.result, result))


def _events(evidence: Evidence, *types: str) -> list[Any]:
    return [event_of(r.event) for r in evidence.events if r.event.type in types]


def _of_people(evidence: Evidence) -> int:
    return size(taken for taken in evidence.commands or () if taken.position.topic == COMMANDS_PEOPLE)


def _ended_by_themselves(evidence: Evidence) -> int:
    return size(event for event in _events(evidence, StepFinished.__name__) if event.exit_code is not None)


def _runs(evidence: Evidence) -> int:
    return len({r.event.stream for r in evidence.events if r.event.stream.startswith("run/")})


def _checks(evidence: Evidence) -> int:
    return len({event.check for event in _events(evidence, "TargetCheckRequested", "TargetChecked")})


COUNTS: Mapping[str, Callable[[Evidence], int]] = {
    "every_command_is_decided_once": lambda evidence: len(evidence.commands or ()),
    "ok_is_there_once": lambda evidence: _told(evidence, Accepted),
    "rejected_is_never_there": lambda evidence: _told(evidence, Rejected),
    "told_alike": lambda evidence: len(evidence.outcomes) + _told(evidence, Accepted) + _told(evidence, Rejected),
    "what_is_told_is_of_that_command": lambda evidence: _told(evidence, Accepted) + _told(evidence, Rejected),
    "nothing_nobody_asked_for": _of_people,
    "events_are_of_their_commands": lambda evidence: len(evidence.events) if evidence.commands else 0,
    "expected_versions_are_kept": lambda evidence: size(
        told for told in evidence.told if told.command.expected_version is not None
    ),
    "unknown_is_one_or_none": lambda evidence: len({recorded.event.command_id for recorded in evidence.events}),
    "outcomes_agree_with_events": lambda evidence: len(evidence.outcomes),
    "versions_are_gapless": lambda evidence: len(evidence.events),
    "chain_is_unbroken": lambda evidence: len(evidence.events),
    "causes_are_complete": lambda evidence: size(
        r for r in evidence.events if r.event.causation_id is not None or r.event.actor.kind == "system"
    ),
    "attempts_start_once": lambda evidence: len(_events(evidence, StepStarted.__name__)),
    "targets_saw_each_attempt_once": lambda evidence: len(evidence.starts),
    "targets_saw_only_intents": lambda evidence: len(evidence.starts),
    "what_succeeded_was_seen": _ended_by_themselves,
    "what_is_told_dead_is_dead": lambda evidence: len(_events(evidence, StepFinished.__name__)),
    "attempts_are_as_the_job_says": lambda evidence: size(e for e in _events(evidence, "StepStarted") if e.attempt > 1),
    "overlaps_are_as_the_job_says": lambda evidence: len(_events(evidence, "RunRequested")),
    "only_the_holder_changes_a_run": lambda evidence: len(
        _events(evidence, "RunClaimed", "RunPlanned", "StepStarted", "StepFinished")
    ),
    "output_is_what_targets_wrote": lambda evidence: len(evidence.output or ()),
    "runs_end": _runs,
    "the_living_keep_their_claims": lambda evidence: len(evidence.expiries),
    "checks_end": _checks,
    "events_fold": lambda evidence: len(evidence.events),
    "read_models_are_the_log": lambda evidence: sum(len(rows) for rows in evidence.live.values()),
    "rows_say_what_the_log_says": lambda evidence: sum(len(rows) for rows in evidence.live.values()),
    "settles": lambda evidence: len(evidence.commands or ()) + _runs(evidence) + _checks(evidence),
    "nothing_unforeseen": lambda evidence: len(evidence.told) + len(evidence.events),
}
"""By invariant: what it goes through, of what clients and targets saw and of what is in the log."""


def lines(looked: Mapping[str, int]) -> list[str]:
    """For people: what was checked on how many facts, and what had nothing to look at."""
    had = [f"{name} {count}" for name, count in looked.items() if count]
    had_none = [name for name, count in looked.items() if not count]
    told = [f"checked, each on how many facts: {', '.join(had)}"]
    return [*told, f"not checked, since there is nothing of it here: {', '.join(had_none)}"] if had_none else told

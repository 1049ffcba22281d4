"""How many facts did each check look at? One that looked at none has checked nothing, and is not told as checked.

Pure: by the name of a check, from what it is given to the number of things about which it could have said something.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from domain.run.messages import StepFinished, StepStarted
from schemas.event_types import event_of
from schemas.outcome import Accepted, Rejected
from tests.jepsen.explain import Case
from tests.jepsen.history import Said
from tests.support.checker import Evidence


def _size(things: Iterable[Any]) -> int:
    return sum(1 for _ in things)


def _writes(case: Case, saying: Said) -> int:
    return _size(write for write in case.history.writes if write.said is saying)


def _told(evidence: Evidence, result: type) -> int:
    return _size(told for told in evidence.told if isinstance(told.result, result))


def _events(evidence: Evidence, *types: str) -> list[Any]:
    return [event_of(r.event) for r in evidence.events if r.event.type in types]


def _ended_by_themselves(evidence: Evidence) -> int:
    return _size(event for event in _events(evidence, StepFinished.__name__) if event.exit_code is not None)


Count = Callable[[Case, Evidence], int]

COUNTS: Mapping[str, Count] = {
    "decided_one_by_one": lambda case, _: len(case.log.outcomes),
    "every_command_is_decided_once": lambda _, evidence: len(evidence.commands or ()),
    "if_match_is_kept": lambda case, _: _size(write for write in case.history.writes if write.expected is not None),
    "real_time_is_kept": lambda case, _: _size(
        {write.command_id for write in case.history.writes} & {at.body.command_id for at in case.log.outcomes}
    ),
    "answers_are_in_the_log": lambda case, _: sum(len(write.definite) for write in case.history.writes),
    "nothing_written_is_nowhere": lambda case, _: _writes(case, Said.NOTHING_WRITTEN),
    "what_was_decided_is_told": lambda case, _: _size(
        write for write in case.history.writes if write.tries[-1].asked and not write.definite
    ),
    "reads_are_explained": lambda case, _: len(case.history.reads),
    "reads_are_as_new_as_asked": lambda case, _: _size(read for read in case.history.reads if read.at_least is not None),
    "reads_never_go_back": lambda case, _: len(case.history.reads),
    "what_is_there_is_found": lambda case, _: _size(read for read in case.history.reads if not read.version),
    "ok_is_there_once": lambda _, evidence: _told(evidence, Accepted),
    "rejected_is_never_there": lambda _, evidence: _told(evidence, Rejected),
    "told_alike": lambda _, evidence: len(evidence.outcomes) + _told(evidence, Accepted) + _told(evidence, Rejected),
    "expected_versions_are_kept": lambda _, evidence: _size(
        told for told in evidence.told if told.command.expected_version is not None
    ),
    "unknown_is_one_or_none": lambda _, evidence: _size({recorded.event.command_id for recorded in evidence.events}),
    "outcomes_agree_with_events": lambda _, evidence: len(evidence.outcomes),
    "versions_are_gapless": lambda _, evidence: len(evidence.events),
    "chain_is_unbroken": lambda _, evidence: len(evidence.events),
    "causes_are_complete": lambda _, evidence: _size(
        r for r in evidence.events if r.event.causation_id is not None or r.event.actor.kind == "system"
    ),
    "attempts_start_once": lambda _, evidence: len(_events(evidence, StepStarted.__name__)),
    "targets_saw_each_attempt_once": lambda _, evidence: len(evidence.starts),
    "targets_saw_only_intents": lambda _, evidence: len(evidence.starts),
    "what_succeeded_was_seen": lambda _, evidence: _ended_by_themselves(evidence),
    "what_is_told_dead_is_dead": lambda _, evidence: len(_events(evidence, StepFinished.__name__)),
    "runs_end": lambda _, evidence: _size({r.event.stream for r in evidence.events if r.event.stream.startswith("run/")}),
    "the_living_keep_their_claims": lambda _, evidence: len(evidence.expiries),
    "checks_end": lambda _, evidence: len(_events(evidence, "TargetCheckRequested", "TargetChecked")),
    "events_fold": lambda _, evidence: len(evidence.events),
    "read_models_are_the_log": lambda _, evidence: sum(len(rows) for rows in evidence.live.values()),
    "rows_say_what_the_log_says": lambda _, evidence: sum(len(rows) for rows in evidence.live.values()),
    "settles": lambda _, evidence: len(evidence.unsettled),
    "nothing_unforeseen": lambda case, _: (
        len(case.history.reads) + case.history.refused_reads + sum(len(write.tries) for write in case.history.writes)
    ),
}
"""By check: what it goes through, of the things that clients saw and of those that are in the log."""


def looked_at(checks: Iterable[str], case: Case, evidence: Evidence) -> dict[str, int]:
    """How many facts each of these checks had."""
    return {name: COUNTS[name](case, evidence) for name in checks}


def lines(looked: Mapping[str, int]) -> list[str]:
    """For people: what was checked on how many facts, and what had nothing to look at."""
    had = [f"{name} {count}" for name, count in looked.items() if count]
    had_none = [name for name, count in looked.items() if not count]
    told = [f"checked, each on how many facts: {', '.join(had)}"]
    return [*told, f"not checked, since there is nothing of it here: {', '.join(had_none)}"] if had_none else told

"""How many facts did each check of clients' histories look at? Those of the log alone are counted by `tests.support.facts`."""

from collections.abc import Callable, Iterable, Mapping

from tests.jepsen.explain import Case
from tests.jepsen.history import Said
from tests.support import facts
from tests.support.evidence import Evidence
from tests.support.facts import size

Count = Callable[[Case, Evidence], int]


def _of_evidence(count: Callable[[Evidence], int]) -> Count:
    return lambda _, evidence: count(evidence)


COUNTS: Mapping[str, Count] = {
    **{name: _of_evidence(count) for name, count in facts.COUNTS.items()},
    "decided_one_by_one": lambda case, _: len(case.log.outcomes),
    "if_match_is_kept": lambda case, _: size(write for write in case.history.writes if write.expected is not None),
    "real_time_is_kept": lambda case, _: size(
        {write.command_id for write in case.history.writes} & {at.body.command_id for at in case.log.outcomes}
    ),
    "answers_are_in_the_log": lambda case, _: sum(len(write.definite) for write in case.history.writes),
    "nothing_written_is_nowhere": lambda case, _: size(
        one for write in case.history.writes for one in write.tries if one.said is Said.NOTHING_WRITTEN
    ),
    "what_was_decided_is_told": lambda case, _: size(
        write for write in case.history.writes if write.tries[-1].asked and not write.definite
    ),
    "reads_are_explained": lambda case, _: len(case.history.reads),
    "reads_are_as_new_as_asked": lambda case, _: size(read for read in case.history.reads if read.at_least is not None),
    "reads_never_go_back": lambda case, _: len(case.history.reads),
    "what_is_there_is_found": lambda case, _: size(read for read in case.history.reads if not read.version),
    "settles": lambda _, evidence: len(evidence.unsettled),  # whether all settles is asked of the cluster while it does
    "nothing_unforeseen": lambda case, _: (
        len(case.history.reads) + case.history.refused_reads + sum(len(write.tries) for write in case.history.writes)
    ),
}
"""By check: what it goes through, of the things that clients saw and of those that are in the log."""


def looked_at(checks: Iterable[str], case: Case, evidence: Evidence) -> dict[str, int]:
    """How many facts each of these checks had."""
    return {name: COUNTS[name](case, evidence) for name in checks}

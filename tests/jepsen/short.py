"""The short form of `make jepsen`, which is lived through beside the other tests."""

from tests.jepsen.faults import KINDS
from tests.jepsen.run import Asked, Report, jepsen

SHORT, SHORT_PAUSE_S = "short-30625", (0.5, 2.0)
"""A seed whose first faults, one of every kind, last a minute together, some longer than a transaction and than a session."""

WANTED, LEAST_POINTS = frozenset({*KINDS, "after decide, before begin"}), 5
"""What must have met something in the short form, and at how many different crash points an owner must have fallen."""


def short_jepsen() -> Report:
    """What it came to; what happened stands before its figures."""
    told: list[str] = []
    report = jepsen(Asked(minutes=1.3, seed=SHORT, pause_s=SHORT_PAUSE_S, wanted=WANTED), told.append)
    report.lines = [*told, *report.lines]
    return report

"""The short form of `make chaos`, which is lived through beside the other tests."""

from tests.chaos.run import Asked, chaos
from tests.jepsen.run import Report


def short_chaos() -> Report:
    """What it came to; what happened stands before its figures."""
    told: list[str] = []
    report = chaos(Asked(runs=20, minutes=1.1, seed="short"), told.append)
    report.lines = [*told, *report.lines]
    return report

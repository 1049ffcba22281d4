"""Services that all tests may ask for, and what is lived through beside them."""

import os
from collections.abc import Callable

import pytest

from infra.deploy.services.native_process import ServiceUnavailable
from tests.chaos.short import short_chaos as chaos_run
from tests.jepsen.run import Report
from tests.jepsen.short import short_jepsen as jepsen_run
from tests.support.beside import Beside
from tests.support.services import kafka, missing, postgres_url, redis_url, sshd

os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")
"""Brokers that live for minutes are not worth the second compiler: without it one starts with half the processor time."""

__all__ = ["kafka", "postgres_url", "redis_url", "sshd"]

_RUNS: dict[str, Callable[[], Report]] = {"short_chaos": chaos_run, "short_jepsen": jepsen_run}
"""By the fixture that hands out the result."""

_WITHIN_S = 560
_BESIDE = pytest.StashKey[Beside]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin as soon as it is known what will be asked for."""
    asked = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    runs = {name: run for name, run in _RUNS.items() if name in asked}
    if runs and not session.config.option.collectonly:
        session.config.stash[_BESIDE] = Beside(runs)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave nothing behind."""
    if (beside := session.config.stash.get(_BESIDE, None)) is not None:
        beside.end()


def _report(config: pytest.Config, name: str) -> Report:
    try:
        report: Report = config.stash[_BESIDE].result(name, _WITHIN_S)
    except ServiceUnavailable as absent:
        missing("services to kill", absent)
        raise
    print(*report.lines, sep="\n")
    return report


@pytest.fixture
def short_chaos(pytestconfig: pytest.Config) -> Report:
    """The report of a short chaos."""
    return _report(pytestconfig, "short_chaos")


@pytest.fixture
def short_jepsen(pytestconfig: pytest.Config) -> Report:
    """The report of a short Jepsen."""
    return _report(pytestconfig, "short_jepsen")

"""Services that all tests may ask for, and which tests come first."""

import os

import pytest

from tests.support.services import kafka, postgres_url, redis_url, sshd

os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")
"""Brokers that live for minutes are not worth the second compiler: without it one starts with half the processor time."""

__all__ = ["kafka", "postgres_url", "redis_url", "sshd"]

LONGEST = ("tests/jepsen/test_jepsen.py", "tests/simulation/test_simulation.py", "tests/chaos/test_chaos.py")
"""Minutes each, so they come first: whichever came last would be waited for by the other of two processes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the others as they were found."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(LONGEST)))

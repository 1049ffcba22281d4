"""Is what a library logs many times a second while a broker is away said now and then, and is nothing kept quiet about?"""

import json
import logging
import sys

import pytest

from infra.telemetry.logs import set_up_logs
from infra.telemetry.seldom import EVERY_S, Seldom

FETCHER = logging.getLogger("aiokafka.consumer.fetcher")


class Said:
    """A filter on a clock of its own, and what it says by itself."""

    def __init__(self) -> None:
        self.now, self.told = 0.0, []
        self.seldom = Seldom(
            "aiokafka", lambda record: self.told.append((record.getMessage(), record.left_out)), lambda: self.now
        )

    def passes(self, message: str, *values: object, by: str = FETCHER.name, after: float = 0.1) -> logging.LogRecord | None:
        self.now += after
        record = logging.makeLogRecord({"name": by, "msg": message, "args": values})
        return record if self.seldom.filter(record) else None


def test_the_same_message_comes_once_in_half_a_minute_and_says_how_many_were_left_out() -> None:
    said = Said()
    assert said.passes("Failed fetch messages from %s: %s", 1, "NodeNotReadyError")
    assert not any(said.passes("Failed fetch messages from %s: %s", node, "NodeNotReadyError") for node in range(20))
    again = said.passes("Failed fetch messages from %s: %s", 1, "NodeNotReadyError", after=EVERY_S)
    assert again is not None and again.left_out == 20
    assert not said.passes("Failed fetch messages from %s: %s", 1, "NodeNotReadyError")
    assert said.told == [], "it was said with the message"


def test_another_message_and_another_logger_are_not_held_up() -> None:
    said = Said()
    for by in ("aiokafka.consumer.fetcher", "aiokafka.conn"):
        assert said.passes("failed: %s", "NodeNotReadyError", by=by)
        assert said.passes("failed: %s", "RequestTimedOutError", by=by)
    for by in ("infra.kafka", "aiokafkaesque"):
        assert all(said.passes("failed: %s", "NodeNotReadyError", by=by) for _ in range(3))


def test_what_was_left_out_last_is_said_with_whatever_comes_when_it_is_over() -> None:
    said = Said()
    for _ in range(4):
        said.passes("failed: %s", "NodeNotReadyError")
    assert said.passes("all is well", by="infra.wiring", after=1)
    assert said.told == []
    assert said.passes("all is well", by="infra.wiring", after=EVERY_S)
    assert said.told == [("left out, the same as before: failed: NodeNotReadyError", 3)]
    assert said.passes("all is well", by="infra.wiring", after=EVERY_S) and len(said.told) == 1
    assert said.passes("failed: %s", "NodeNotReadyError")


def test_messages_without_end_that_all_differ_fill_no_memory() -> None:
    said = Said()
    letters = "abcdefghijklmnopqrstuvwxyz"
    assert all(said.passes(f"failed: {one}{two}{three}", after=0) for one in letters for two in letters for three in "ab")
    assert len(said.seldom._said) < 1000


def test_a_role_s_log_holds_it_so(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        set_up_logs("info", "executor")
        root.handlers[0].setStream(sys.stderr)  # type: ignore[attr-defined]
        for _ in range(50):
            FETCHER.error("Failed fetch messages from %s: %s", 1, "NodeNotReadyError")
            logging.getLogger("infra.kafka").warning("each of these is wanted")
    finally:
        root.handlers[:], root.level = before
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events.count("Failed fetch messages from 1: NodeNotReadyError") == 1
    assert events.count("each of these is wanted") == 50

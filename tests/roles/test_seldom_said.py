"""Is what is logged many times a second while a broker is away said now and then, and is nothing kept quiet about?"""

import json
import logging
import sys
import threading
from collections.abc import Callable
from io import StringIO

import pytest

from infra.telemetry.logs import set_up_logs
from infra.telemetry.seldom import EVERY_S, LOOK_EVERY_S, Seldom, but_for_numbers, in_a_thread, to_the_letter

FETCHER = logging.getLogger("aiokafka.consumer.fetcher")
WAITS = "a reader waits for the brokers: 1/1 brokers are down"


class Said:
    """A filter on a clock of its own, and what it says by itself."""

    def __init__(self, loggers: str = "aiokafka", alike: Callable[[str], str] = but_for_numbers) -> None:
        self.now, self.told, self._due = 0.0, [], []
        self.seldom = Seldom(
            loggers,
            alike,
            lambda record: self.told.append((record.getMessage(), record.left_out)),
            lambda: self.now,
            lambda after_s, call: self._due.append((self.now + after_s, call)),
        )

    def passes(
        self, message: str, *values: object, by: str = FETCHER.name, after: float = 0.1, error: Exception | None = None
    ) -> logging.LogRecord | None:
        self.waits(after)
        told = (type(error), error, None) if error else None
        record = logging.makeLogRecord({"name": by, "msg": message, "args": values, "exc_info": told})
        return record if self.seldom.filter(record) else None

    def waits(self, seconds: float) -> None:
        until = self.now + seconds
        while self._due and self._due[0][0] <= until:
            self.now, call = self._due.pop(0)
            call()
        self.now = until

    @property
    def looks(self) -> int:
        return len(self._due)


def test_the_same_message_comes_once_in_half_a_minute_and_says_how_many_were_left_out() -> None:
    said = Said()
    assert said.passes("Failed fetch messages from %s: %s", 1, "NodeNotReadyError")
    assert not any(said.passes("Failed fetch messages from %s: %s", node, "NodeNotReadyError") for node in range(290))
    again = said.passes("Failed fetch messages from %s: %s", 1, "NodeNotReadyError", after=1)
    assert again is not None and again.left_out == 290
    assert not said.passes("Failed fetch messages from %s: %s", 1, "NodeNotReadyError")
    assert said.told == [], "it was said with the message"


def test_another_message_and_another_logger_are_not_held_up() -> None:
    said = Said()
    for by in ("aiokafka.consumer.fetcher", "aiokafka.conn"):
        assert said.passes("failed: %s", "NodeNotReadyError", by=by)
        assert said.passes("failed: %s", "RequestTimedOutError", by=by)
    for by in ("infra.kafka", "aiokafkaesque"):
        assert all(said.passes("failed: %s", "NodeNotReadyError", by=by) for _ in range(3))


def test_of_our_own_only_the_very_same_is_left_out() -> None:
    said = Said("infra.kafka", to_the_letter)
    assert said.passes("commands %s to %s of people/%s expired", 1, 5, 0, by="infra.kafka.lanes")
    assert said.passes("commands %s to %s of people/%s expired", 1, 5, 1, by="infra.kafka.lanes")
    assert not said.passes("commands %s to %s of people/%s expired", 1, 5, 1, by="infra.kafka.lanes")
    for error in (ValueError("one"), ValueError("other")):
        assert said.passes("outcomes cannot be read", by="infra.kafka.outcomes", error=error)
        assert not said.passes("outcomes cannot be read", by="infra.kafka.outcomes", error=error)


def test_when_it_is_over_that_is_said_though_nothing_else_is_and_then_nobody_looks_any_more() -> None:
    said = Said()
    for _ in range(4):
        said.passes("failed: %s", "NodeNotReadyError")
    said.waits(EVERY_S - 1)
    assert said.told == []
    said.waits(LOOK_EVERY_S + 1)
    assert said.told == [("no longer said: failed: NodeNotReadyError", 3)]
    said.waits(10 * EVERY_S)
    assert len(said.told) == 1 and not said.looks
    assert said.passes("failed: %s", "NodeNotReadyError") and said.looks == 1, "it is the first again"


def test_what_goes_on_is_not_said_to_be_over_and_is_looked_at_once_at_a_time() -> None:
    said = Said()
    passed = [bool(said.passes("failed: %s", "NodeNotReadyError", after=0.5)) for _ in range(400)]
    assert sum(passed) == 7 and said.told == [] and said.looks == 1, "200 seconds"


def test_what_was_said_once_is_not_said_to_be_over() -> None:
    said = Said()
    assert said.passes("failed: %s", "NodeNotReadyError")
    said.waits(10 * EVERY_S)
    assert said.told == []


def test_messages_without_end_that_all_differ_fill_no_memory() -> None:
    said = Said()
    letters = "abcdefghijklmnopqrstuvwxyz"
    assert all(said.passes(f"failed: {one}{two}{three}", after=0) for one in letters for two in letters for three in "ab")
    assert len(said.seldom._said) < 1000


def test_what_is_to_be_done_later_is_done() -> None:
    done = threading.Event()
    in_a_thread(0.01, done.set)
    assert done.wait(60)


def test_a_role_s_log_holds_it_so(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        set_up_logs("info", "executor")
        root.handlers[0].setStream(sys.stderr)  # type: ignore[attr-defined]
        for _ in range(50):
            FETCHER.error("Failed fetch messages from %s: %s", 1, "NodeNotReadyError")
            logging.getLogger("infra.kafka.consuming").warning(WAITS)
            logging.getLogger("commands.owner").warning("log unavailable: no broker")
            logging.getLogger("infra.redis").warning("each of these is wanted")
    finally:
        root.handlers[0].setStream(StringIO())  # type: ignore[attr-defined]  # what is said when it is over is for nobody
        root.handlers[:], root.level = before
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    for once in ("Failed fetch messages from 1: NodeNotReadyError", WAITS, "log unavailable: no broker"):
        assert events.count(once) == 1
    assert events.count("each of these is wanted") == 50


def test_where_no_thread_can_be_started_whoever_logs_is_not_told_and_the_next_record_tries_again() -> None:
    tried = []

    def no_thread(after_s: float, call: Callable[[], None]) -> None:
        tried.append(after_s)
        raise RuntimeError("can't start new thread")

    seldom = Seldom("aiokafka", to_the_letter, lambda record: None, lambda: 0.0, no_thread)
    record = logging.makeLogRecord({"name": FETCHER.name, "msg": WAITS})
    assert [seldom.filter(record), seldom.filter(record)] == [True, False]
    assert len(tried) == 2


def test_the_same_text_said_as_something_worse_is_not_left_out() -> None:
    said = Said(alike=to_the_letter)
    levels = (logging.INFO, logging.ERROR, logging.ERROR)
    records = [logging.makeLogRecord({"name": FETCHER.name, "msg": WAITS, "levelno": level}) for level in levels]
    assert [said.seldom.filter(record) for record in records] == [True, True, False]


def test_looking_goes_on_where_what_is_over_could_not_be_said() -> None:
    said = Said()
    said.seldom._say = None  # whatever it raises
    for _ in range(3):
        said.passes(WAITS)
    said.passes("another thing")
    with pytest.raises(TypeError):
        said.waits(EVERY_S + 2 * LOOK_EVERY_S)
    assert said.looks == 1 or not said.seldom._looks

"""Which topics are there, who writes them, how long are they kept? One table; everything else is derived from it."""

from dataclasses import dataclass
from typing import Literal

from domain.identity import CREDENTIAL, JOB, KEY, ROLE, RUN, TARGET, USER

Holds = Literal["commands", "outcomes", "events", "output", "heartbeats"]

FOR_EVER = -1
_DAY_MS = 86_400_000

MAX_RECORD_BYTES = 1_048_576
"""The largest record a topic takes (Kafka's `max.message.bytes`)."""

MAX_PAYLOAD_BYTES = 900_000
"""The largest payload of a command or event; leaves room for headers below `MAX_RECORD_BYTES`."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: its name without the prefix, its only writer role, and for how long records stay (`FOR_EVER` or ms)."""

    name: str
    holds: Holds
    writer: str
    retention_ms: int = FOR_EVER
    cleanup_policy: str = "delete"
    log_append_time: bool = False


COMMANDS_PEOPLE, COMMANDS_SYSTEM, OUTCOMES = "commands.people", "commands.system", "outcomes"
RUN_OUTPUT, EXECUTORS = "run-output", "executors"

TABLE: tuple[Topic, ...] = (
    Topic(COMMANDS_PEOPLE, "commands", "api", 7 * _DAY_MS, log_append_time=True),
    Topic(COMMANDS_SYSTEM, "commands", "processors", 7 * _DAY_MS, log_append_time=True),
    Topic(OUTCOMES, "outcomes", "commands", 7 * _DAY_MS, log_append_time=True),
    Topic("targets", "events", "commands"),
    Topic("credentials", "events", "commands"),
    Topic("users", "events", "commands"),
    Topic("jobs", "events", "commands"),
    Topic("runs", "events", "commands"),
    Topic(RUN_OUTPUT, "output", "executor", 90 * _DAY_MS, log_append_time=True),
    Topic(EXECUTORS, "heartbeats", "processors", _DAY_MS, cleanup_policy="compact,delete", log_append_time=True),
)

BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TABLE}

EVENT_TOPIC: dict[str, str] = {
    TARGET: "targets", CREDENTIAL: "credentials", USER: "users", ROLE: "users", KEY: "users", JOB: "jobs", RUN: "runs",
}  # fmt: skip
"""The event topic of each aggregate type. Roles share that of users: who holds which is one story, in one order. Keys, which are
few, do, too.
"""

EVENT_TOPICS: tuple[str, ...] = tuple(dict.fromkeys(EVENT_TOPIC.values()))

"""Do the tables agree with each other and with the rules?"""

import ast
import re
import typing

import pytest

from commands.deciders import TABLE as DECIDERS
from domain import credential, key, role, target
from domain.job import decide as job
from domain.run import messages as run
from domain.user import messages as user
from infra.cli.main import app
from infra.cli.manual import manual
from schemas.command_types import LANE_TOPIC
from schemas.command_types import TABLE as COMMANDS
from schemas.consequences import FOR_ALL, FORMER
from schemas.consequences import TABLE as CONSEQUENCES
from schemas.event_types import TABLE as EVENTS
from schemas.export import documents
from schemas.topics import BY_NAME, EVENT_TOPIC
from schemas.topics import TABLE as TOPICS
from tests.house.files import TOP, named, product

MODULES = {"user": user, "role": role, "key": key, "credential": credential, "target": target, "job": job, "run": run}


def members(union):
    return set(typing.get_args(union)) or {union}


def test_every_command_of_every_aggregate_has_a_type_entry_a_lane_and_consequences():
    for aggregate, module in MODULES.items():
        entries = {kind.payload for kind in COMMANDS.values() if kind.aggregate == aggregate}
        assert entries == members(module.Command), aggregate
    assert {kind.payload for kind in COMMANDS.values()} == set(CONSEQUENCES)
    assert all(kind.lane in LANE_TOPIC and LANE_TOPIC[kind.lane] in BY_NAME for kind in COMMANDS.values())


def test_every_event_of_every_aggregate_has_a_type_entry_and_something_that_causes_it():
    events = {kind for _, kind in EVENTS.values()}
    assert events == {event for module in MODULES.values() for event in members(module.Event)}
    caused = {event for may in CONSEQUENCES.values() for event in may.events}
    assert events == caused | set(FORMER) and not caused & set(FORMER)
    for kind in COMMANDS.values():
        allowed = members(MODULES[kind.aggregate].Event)
        assert set(CONSEQUENCES[kind.payload].events) <= allowed


def test_every_aggregate_has_a_decider_and_a_topic():
    assert set(MODULES) == set(DECIDERS) == set(EVENT_TOPIC)


def test_every_topic_has_exactly_one_writer_role():
    assert len(BY_NAME) == len(TOPICS) and all(topic.writer for topic in TOPICS)
    assert {topic.writer for topic in TOPICS if topic.holds == "events"} == {"commands"}
    assert all(topic.retention_ms == -1 and topic.cleanup_policy == "delete" for topic in TOPICS if topic.holds == "events")
    assert {topic.name for topic in TOPICS if topic.holds == "events"} == set(EVENT_TOPIC.values())


def codes_in(folder: str) -> set[str]:
    """Every code that a rejection below `folder` is made with."""
    found = {"validation_failed"}
    for file in product():
        if not named(file).startswith(folder):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                first = node.args[0] if node.args else None
                if node.func.id in {"Absent", "Conflict", "Stale", "Forbidden", "Rejection", "Rejected"} and isinstance(
                    first, ast.Constant
                ):
                    found.add(first.value)
                found |= {
                    k.value.value
                    for k in node.keywords
                    if k.arg == "code" and isinstance(k.value, ast.Constant) and node.func.id == "Invalid"
                }
    return found


def test_every_code_a_rule_rejects_with_is_in_the_table_and_no_other():
    assert codes_in("domain/") == {code for may in CONSEQUENCES.values() for code in may.rejections}


def test_every_code_the_owner_rejects_with_is_in_the_table():
    assert codes_in("commands/") <= set(FOR_ALL) | {"undecodable_command"}


@pytest.mark.parametrize("path", manual(app))
def test_generated_manual_pages_are_up_to_date(path: str) -> None:
    assert (TOP / path).read_text() == manual(app)[path], "run: make reference"


@pytest.mark.parametrize("path", documents())
def test_a_generated_file_is_up_to_date(path):
    assert (TOP / path).read_text() == documents()[path], "run: make reference"


def test_no_published_schema_is_left_of_what_is_no_more():
    assert {str(file.relative_to(TOP)) for file in (TOP / "schemas/published").rglob("*.json")} <= set(documents())


def test_every_variable_that_is_read_from_the_environment_stands_among_the_settings() -> None:
    said = re.compile(r'(?:environ\.get\(|environ\[|envvar=)"(OPSCONDUCTOR_\w+)"')
    read = {name for file in product() for name in said.findall(file.read_text())}
    page = (TOP / "docs/reference/settings.md").read_text()
    assert {"OPSCONDUCTOR_URL", "OPSCONDUCTOR_TOKEN", "OPSCONDUCTOR_CA_FILE"} <= read
    assert {name for name in read if f"| `{name}` |" not in page} == set()

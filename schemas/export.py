"""What do outsiders read about us? The reference and the JSON Schemas, all from the tables in code; nothing is written here.

`documents()` maps each generated file's path, from the top of the repository, to its text.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from domain.run.state import FINAL, TRANSITIONS
from schemas import command_types, event_types, topics
from schemas.consequences import FOR_ALL
from schemas.consequences import TABLE as CONSEQUENCES
from schemas.payload import adapter, closed_adapter

PUBLISHED = "schemas/published"
REFERENCE = "docs/reference"
_GENERATED = "<!-- Generated from the tables in code by `make reference`; do not edit. -->"


def documents() -> Mapping[str, str]:
    """Every generated file: its path and its text."""
    pages = {
        f"{REFERENCE}/commands.md": commands_page(),
        f"{REFERENCE}/events.md": events_page(),
        f"{REFERENCE}/run-states.md": run_states_page(),
        f"{REFERENCE}/topics.md": topics_page(),
    }
    schemas = {f"{PUBLISHED}/{name}.v{version}.json": event_schema(name) for name, (version, _) in event_types.TABLE.items()}
    commands = {f"{PUBLISHED}/commands/{name}.json": command_schema(name) for name in command_types.TABLE}
    return {**pages, **schemas, **commands}


def event_schema(name: str) -> str:
    """The JSON Schema of an event's current version."""
    version, kind = event_types.TABLE[name]
    return _schema(f"{name}.v{version}", adapter(kind).json_schema(mode="serialization"))


def command_schema(name: str) -> str:
    """The JSON Schema of a command's payload."""
    return _schema(name, closed_adapter(command_types.TABLE[name].payload).json_schema())


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:opsconductor:{name}", **schema}
    return orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode() + "\n"


def commands_page() -> str:
    """Command → lane → events it may cause → rejections."""
    rows = []
    for name, kind in command_types.TABLE.items():
        may = CONSEQUENCES[kind.payload]
        events = ", ".join(_event_link(event.__name__) for event in may.events)
        link = f"[{name}](../../{PUBLISHED}/commands/{name}.json)"
        rows.append((link, kind.aggregate, kind.lane, events, ", ".join(f"`{code}`" for code in may.rejections)))
    return _page(
        "Commands",
        "A command that is accepted causes its events in one transaction; one that finds all so already causes none.",
        _table(("command", "stream", "lane", "events it may cause", "rejections"), rows),
        "## Rejections that any command may get",
        _table(("code", "meaning"), ((f"`{code}`", meaning) for code, meaning in FOR_ALL.items())),
    )


def events_page() -> str:
    """Event → schema → what it means → what may cause it."""
    rows = []
    for name, (version, kind) in event_types.TABLE.items():
        causes = [command.__name__ for command, may in CONSEQUENCES.items() if kind in may.events]
        rows.append((_event_link(name), str(version), _meaning(kind), ", ".join(causes)))
    return _page(
        "Events",
        "Events are kept for ever; a new schema version adds an upcaster and never changes what is stored.",
        _table(("event", "schema version", "meaning", "caused by"), rows),
    )


def run_states_page() -> str:
    """The run's states as a diagram, drawn from the table the tests hold the rules to."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (before, event), afters in TRANSITIONS.items():
        for after in afters:
            arrows.setdefault((before or "[*]", after), []).append(event)
    lines = [f"    {before} --> {after}: {'<br>'.join(events)}" for (before, after), events in arrows.items()]
    ends = [f"    {state} --> [*]" for state in FINAL]
    return _page(
        "States of a run",
        "A run is in exactly one of these states; each arrow is an event. `LateReportReceived` may come in any and changes none.",
        "\n".join(["```mermaid", "stateDiagram-v2", *lines, *ends, "```"]),
    )


def topics_page() -> str:
    """Topics, their only writers and how long they keep records."""
    rows = (
        (f"`{topic.name}`", topic.holds, topic.writer, _kept(topic), topic.cleanup_policy, _clock(topic))
        for topic in topics.TABLE
    )
    return _page(
        "Topics",
        f"Every topic has one writer role. Names are without the prefix; a record is at most {topics.MAX_RECORD_BYTES:,} bytes.",
        _table(("topic", "holds", "writer", "kept", "clean-up", "time stamp"), rows),
    )


def _kept(topic: topics.Topic) -> str:
    return "for ever" if topic.retention_ms == topics.FOR_EVER else f"{topic.retention_ms // 86_400_000} days"


def _clock(topic: topics.Topic) -> str:
    return "the broker's" if topic.log_append_time else "the writer's"


def _event_link(name: str) -> str:
    return f"[{name}](../../{PUBLISHED}/{name}.v{event_types.TABLE[name][0]}.json)"


def _meaning(kind: type[Any]) -> str:
    return " ".join((kind.__doc__ or "").split()).replace("|", "\\|")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _page(title: str, *parts: str) -> str:
    return "\n\n".join((f"# {title}", _GENERATED, *parts)) + "\n"

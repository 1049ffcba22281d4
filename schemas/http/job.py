"""What may be said of a job over HTTP? Its name beside one revision's definition, in one object."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from domain.job.definition import JobDefinition
from domain.rejection import FieldError, Invalid
from schemas.http.closed import read

STEP_KINDS = ("command", "script")
LATER_STEP_KINDS = ("copy", "http", "wait", "approval", "job")
LATER_STEP_FIELDS = ("when", "register")


def named_definition(plain: Mapping[str, Any]) -> tuple[str, JobDefinition]:
    """Name and definition of a job to define. Raises `Invalid`."""
    if not isinstance(plain.get("name"), str):
        raise Invalid(FieldError("name", "must be text" if "name" in plain else "is required"))
    return plain["name"], definition(plain)


def revised_definition(name: str, plain: Mapping[str, Any]) -> JobDefinition:
    """The definition that revises job `name`; the body may repeat the name. Raises `Invalid`."""
    if plain.get("name", name) != name:
        raise Invalid(FieldError("name", "a job's name cannot be changed"))
    return definition(plain)


def definition(plain: Mapping[str, Any]) -> JobDefinition:
    """The definition in a job's body. Raises `Invalid` naming the fields, those of steps as `steps.0.run`."""
    body = {key: value for key, value in plain.items() if key != "name"}
    if errors := tuple(_step_errors(body.get("steps"))):
        raise Invalid(*errors)
    return read(JobDefinition, orjson.dumps(body), body)


def _step_errors(steps: Any) -> Iterator[FieldError]:
    if not isinstance(steps, list):
        return
    for index, step in enumerate(steps):
        at = f"steps.{index}"
        if not isinstance(step, dict):
            yield FieldError(at, "must be an object")
            continue
        kind = step.get("kind")
        if kind in LATER_STEP_KINDS:
            yield FieldError(f"{at}.kind", f"{kind} is not supported yet; use {' or '.join(STEP_KINDS)}")
        elif kind not in STEP_KINDS:
            yield FieldError(f"{at}.kind", f"must be one of {', '.join(STEP_KINDS)}" if "kind" in step else "is required")
        for field in LATER_STEP_FIELDS:
            if field in step:
                yield FieldError(f"{at}.{field}", "is not supported yet")

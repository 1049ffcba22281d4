"""Are these values right for these parameters?"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from domain.rejection import FieldError, Invalid
from domain.title import check_title

PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)
MAX_PARAMETERS = 100
MAX_VALUE_BYTES = 100_000
MAX_CHOICES = 1_000

ParameterType = Literal["string", "integer", "number", "boolean", "secret"]
Plain = str | int | float | bool


@dataclass(frozen=True, slots=True)
class SealedValue:
    """A secret value: the id under which the vault holds it."""

    sealed: str


Value = Plain | SealedValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What a run may or must be given: required unless it has a default or says otherwise."""

    name: str
    type: ParameterType
    title: str = ""
    default: Plain | None = None
    required: bool | None = None
    minimum: float | int | None = None
    maximum: float | int | None = None
    choices: tuple[Plain, ...] | None = None

    @property
    def must_be_given(self) -> bool:
        """Whether a run without this value is refused."""
        return self.default is None if self.required is None else self.required and self.default is None


def check_parameters(parameters: tuple[Parameter, ...]) -> Iterator[FieldError]:
    """What is wrong with a job's parameters."""
    if len(parameters) > MAX_PARAMETERS:
        yield FieldError("parameters", f"must be at most {MAX_PARAMETERS}")
    seen: set[str] = set()
    for index, parameter in enumerate(parameters):
        at = f"parameters.{index}"
        if not PARAMETER_NAME.fullmatch(parameter.name):
            yield FieldError(f"{at}.name", "must be letters, digits and underscores, not beginning with a digit")
        if parameter.name.upper() in seen:
            yield FieldError(f"{at}.name", "differs from an earlier parameter at most in case")
        seen.add(parameter.name.upper())
        yield from check_title(parameter.title, f"{at}.title")
        yield from _parameter_errors(parameter, at)


def _parameter_errors(parameter: Parameter, at: str) -> Iterator[FieldError]:
    numeric = parameter.type in ("integer", "number")
    for name in ("minimum", "maximum"):
        if getattr(parameter, name) is not None and not numeric:
            yield FieldError(f"{at}.{name}", "fits only an integer or a number")
    if parameter.minimum is not None and parameter.maximum is not None and parameter.minimum > parameter.maximum:
        yield FieldError(f"{at}.maximum", "is less than the minimum")
    if parameter.type == "secret" and (parameter.default is not None or parameter.choices is not None):
        yield FieldError(f"{at}.default", "a secret has neither default nor choices: they would be readable in the job")
        return
    if parameter.choices is not None and not 1 <= len(parameter.choices) <= MAX_CHOICES:
        yield FieldError(f"{at}.choices", f"must be 1 to {MAX_CHOICES} values")
    for index, choice in enumerate(parameter.choices or ()):
        if reason := _why_not_typed(parameter.type, choice):
            yield FieldError(f"{at}.choices.{index}", reason)
    if parameter.default is not None and (reason := _why_wrong(parameter, parameter.default)):
        yield FieldError(f"{at}.default", reason)


def resolve(parameters: tuple[Parameter, ...], given: Mapping[str, Value]) -> Mapping[str, Value]:
    """The value of every parameter that has one, defaults filled in; raises `Invalid` naming `parameters.<name>`."""
    known = {p.name: p for p in parameters}
    errors = [FieldError(f"parameters.{name}", "is not a parameter of this job") for name in given if name not in known]
    values: dict[str, Value] = {}
    for name, parameter in known.items():
        value = given.get(name, parameter.default)
        if value is None:
            if parameter.must_be_given:
                errors.append(FieldError(f"parameters.{name}", "is required"))
        elif reason := _why_wrong(parameter, value):
            errors.append(FieldError(f"parameters.{name}", reason))
        else:
            values[name] = value
    if errors:
        raise Invalid(*errors)
    return values


def _why_wrong(parameter: Parameter, value: Value) -> str | None:
    if parameter.type == "secret" or isinstance(value, SealedValue):
        fits = parameter.type == "secret" and isinstance(value, SealedValue)
        return None if fits else "must be a secret" if parameter.type == "secret" else "must not be a secret"
    if reason := _why_not_typed(parameter.type, value):
        return reason
    if parameter.choices is not None and value not in parameter.choices:
        return f"must be one of {', '.join(map(as_text, parameter.choices))}"
    if isinstance(value, str) and len(value.encode("utf-8", "replace")) > MAX_VALUE_BYTES:
        return f"is longer than {MAX_VALUE_BYTES} bytes"
    return _why_out_of_range(parameter, value)


def _why_out_of_range(parameter: Parameter, value: Plain) -> str | None:
    if isinstance(value, str):
        return None
    if parameter.minimum is not None and value < parameter.minimum:
        return f"must be at least {parameter.minimum}"
    if parameter.maximum is not None and value > parameter.maximum:
        return f"must be at most {parameter.maximum}"
    return None


def _why_not_typed(kind: ParameterType, value: Plain) -> str | None:
    fits = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
    }.get(kind, False)
    return None if fits else f"must be of type {kind}"


def as_text(value: Plain) -> str:
    """How a value reaches a step: booleans as `true` and `false`, numbers in their shortest form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)

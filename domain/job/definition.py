"""What does a job say? Its parts, and what is wrong with them."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal

from domain.identity import is_slug
from domain.job.parameters import Parameter, check_parameters
from domain.job.placement import Reason
from domain.job.quoting import MOST_STEPS, SHELLS, Shell, refused_places
from domain.job.template import Placeholder, names_in
from domain.rejection import FieldError, Invalid
from domain.selector import LABEL_KEY, parse_selector
from domain.title import check_title

MAX_STEPS = 100
MAX_STEP_SECONDS = 86_400
MAX_JOB_SECONDS = 7 * 86_400
MAX_SCRIPT = 256 * 1024
MAX_SCRIPTS = 1024 * 1024
"""All scripts of a job together, in bytes of UTF-8; `MAX_SCRIPT` is each."""
MAX_FILLED = 256 * 1024
"""Those of them with placeholders, together: only they are read to see where these stand."""
MAX_PLACEHOLDERS = 1_000
MAX_PARALLELISM = 1_000
MAX_RETRIES = 20
MAX_BACKOFF_S = 3_600

Share = int | str | None
"""A number of targets, a percentage such as "25%", or None."""

_PERCENT = re.compile(r"(\d{1,3})%", re.ASCII)


@dataclass(frozen=True, slots=True)
class Strategy:
    """How a run spreads over its targets.

    `batch_size` targets go through all steps before the next batch begins (None: all at once); `parallelism` is how many at a
    time within a batch; more than `max_failures` failed targets and no further target is begun (None: no limit).
    """

    batch_size: Share = None
    parallelism: int = 20
    max_failures: Share = None
    order: Literal["name"] = "name"


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a failed or lost step is tried again on its target, and after how many seconds."""

    max: int = 0
    backoff_s: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandStep:
    """One command line for the target's `sh`."""

    name: str
    run: str
    kind: Literal["command"] = "command"
    timeout_s: float = 3_600
    idempotent: bool = False
    retries: Retries = field(default_factory=Retries)
    on_failure: Literal["stop", "continue"] = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptStep:
    """A script for the shell it names."""

    name: str
    body: str
    kind: Literal["script"] = "script"
    shell: Shell = "sh"
    timeout_s: float = 3_600
    idempotent: bool = False
    retries: Retries = field(default_factory=Retries)
    on_failure: Literal["stop", "continue"] = "stop"


Step = CommandStep | ScriptStep


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDefinition:
    """One revision of a job."""

    targets: str
    steps: tuple[Step, ...]
    title: str = ""
    parameters: tuple[Parameter, ...] = ()
    strategy: Strategy = field(default_factory=Strategy)
    on_executor_loss: Literal["resume", "lose"] = "resume"
    timeout_s: float = 86_400
    concurrency: Literal["allow", "forbid", "queue", "replace"] = "allow"


def text_of(step: Step) -> tuple[Shell, str, str]:
    """The shell that reads a step, its script text and the name of the field that holds it."""
    match step:
        case CommandStep(run=run):
            return "sh", run, "run"
        case ScriptStep(body=body, shell=shell):
            return shell, body, "body"


def check_definition(job: JobDefinition) -> None:
    """Raise `Invalid` with every field at fault."""
    errors = [*check_title(job.title), *_selector_errors(job.targets), *check_parameters(job.parameters)]
    errors += _strategy_errors(job.strategy)
    if not 1 <= job.timeout_s <= MAX_JOB_SECONDS:
        errors.append(FieldError("timeout_s", f"must be between 1 and {MAX_JOB_SECONDS} seconds"))
    errors += _steps_errors(job)
    if errors:
        raise Invalid(*errors)


def _selector_errors(text: str) -> list[FieldError]:
    try:
        parse_selector(text, "targets")
    except Invalid as invalid:
        return list(invalid.errors)
    return []


def _strategy_errors(strategy: Strategy) -> Iterator[FieldError]:
    if not 1 <= strategy.parallelism <= MAX_PARALLELISM:
        yield FieldError("strategy.parallelism", f"must be between 1 and {MAX_PARALLELISM}")
    if (reason := _why_no_share(strategy.batch_size, 1)) is not None:
        yield FieldError("strategy.batch_size", reason)
    if (reason := _why_no_share(strategy.max_failures, 0)) is not None:
        yield FieldError("strategy.max_failures", reason)


def _why_no_share(share: Share, least: int) -> str | None:
    if share is None:
        return None
    if isinstance(share, str):
        percent = _PERCENT.fullmatch(share)
        return None if percent and least <= int(percent[1]) <= 100 else f'must be a percentage from "{least}%" to "100%"'
    return None if least <= share <= 1_000_000 and not isinstance(share, bool) else f"must be at least {least}"


def share_of(share: Share, total: int, least: int) -> int | None:
    """How many of `total` targets a share means, rounded down but at least `least`; None stays None."""
    if isinstance(share, str):
        return max(least, total * int(share[:-1]) // 100)
    return share


def _steps_errors(job: JobDefinition) -> Iterator[FieldError]:
    if not 1 <= len(job.steps) <= MAX_STEPS:
        yield FieldError("steps", f"must be 1 to {MAX_STEPS} steps")
    seen: set[str] = set()
    for index, step in enumerate(job.steps):
        at = f"steps.{index}"
        if not is_slug(step.name):
            yield FieldError(f"{at}.name", "must be 1 to 63 lower-case letters, digits and hyphens")
        if step.name in seen:
            yield FieldError(f"{at}.name", "is used by an earlier step")
        seen.add(step.name)
        yield from _limit_errors(step, at)
    yield from _scripts_errors(job)


def _limit_errors(step: Step, at: str) -> Iterator[FieldError]:
    if not 0 < step.timeout_s <= MAX_STEP_SECONDS:
        yield FieldError(f"{at}.timeout_s", f"must be more than 0 and at most {MAX_STEP_SECONDS} seconds")
    if not 0 <= step.retries.max <= MAX_RETRIES:
        yield FieldError(f"{at}.retries.max", f"must be between 0 and {MAX_RETRIES}")
    if not 0 <= step.retries.backoff_s <= MAX_BACKOFF_S:
        yield FieldError(f"{at}.retries.backoff_s", f"must be between 0 and {MAX_BACKOFF_S} seconds")


def _scripts_errors(job: JobDefinition) -> Iterator[FieldError]:
    """What is wrong with the scripts; where one is too long, no script is looked into."""
    too_long = list(_length_errors(job))
    for index, step in enumerate(job.steps):
        shell, text, name = text_of(step)
        if not text.strip():
            yield FieldError(f"steps.{index}.{name}", "must not be empty")
        if shell not in SHELLS:
            yield FieldError(f"steps.{index}.shell", f"must be one of {', '.join(SHELLS)}")
    yield from too_long or _placeholder_errors(job)


def _length_errors(job: JobDefinition) -> Iterator[FieldError]:
    total = 0
    for index, step in enumerate(job.steps):
        _, text, name = text_of(step)
        length = len(text.encode("utf-8", "replace"))
        if length > MAX_SCRIPT:
            yield FieldError(f"steps.{index}.{name}", f"is longer than {MAX_SCRIPT} bytes")
        total += length
    if total > MAX_SCRIPTS:
        yield FieldError("steps", f"hold more than {MAX_SCRIPTS} bytes of scripts")


def _placeholder_errors(job: JobDefinition) -> Iterator[FieldError]:
    """Read the scripts that have placeholders; how much is read is bounded for all of them together."""
    known = {f"parameters.{p.name}" for p in job.parameters} | {"target.name", "target.host", "run.id"}
    numbers = {f"parameters.{p.name}" for p in job.parameters if p.type in ("integer", "number")}
    count, length, steps = 0, 0, MOST_STEPS
    for index, step in enumerate(job.steps):
        shell, text, name = text_of(step)
        placeholders = names_in(text, at_most=MAX_PLACEHOLDERS + 1)
        if not placeholders or shell not in SHELLS:
            continue
        count, length = count + len(placeholders), length + len(text)
        if count > MAX_PLACEHOLDERS:
            yield FieldError(f"steps.{index}.{name}", f"the job has more than {MAX_PLACEHOLDERS} placeholders")
            return
        if length > MAX_FILLED:
            yield FieldError(f"steps.{index}.{name}", f"the scripts with placeholders hold more than {MAX_FILLED} characters")
            return
        refused, read = refused_places(shell, text, placeholders, numbers, steps)
        steps -= read
        yield from _refusals(f"steps.{index}.{name}", text, placeholders, refused, known)


def _refusals(
    where: str, text: str, placeholders: Sequence[Placeholder], refused: Mapping[int, Reason], known: Set[str]
) -> Iterator[FieldError]:
    line, counted = 1, 0
    for number, placeholder in enumerate(placeholders):
        line, counted = line + text.count("\n", counted, placeholder.start), placeholder.start
        if placeholder.name not in known and not _is_label(placeholder.name):
            yield FieldError(where, f"{{{{ {placeholder.name} }}}} is not known here")
        elif (reason := refused.get(number)) is not None:
            yield FieldError(where, f"line {line}: {{{{ {placeholder.name} }}}} {reason.text} ({reason.code})")


def _is_label(name: str) -> bool:
    kind, _, key = name.partition(".")
    return kind == "labels" and LABEL_KEY.fullmatch(key) is not None


def environment_names(parameters: tuple[Parameter, ...]) -> Mapping[str, str]:
    """The environment variable of each parameter: `days` is `OPS_PARAM_DAYS`."""
    return {p.name: f"OPS_PARAM_{p.name.upper()}" for p in parameters}

"""The run of the examples: short ways to say what has happened to it."""

from typing import Any

from domain.job.decide import JobArchived, JobDefined
from domain.job.definition import CommandStep, JobDefinition, Retries, Strategy
from domain.run.messages import (
    Event,
    Failure,
    PlannedTarget,
    PlanRun,
    ReportRun,
    RunClaimed,
    RunFinished,
    RunPlanned,
    RunRequested,
    RunRules,
    RunStarted,
    StepEnd,
    StepFinished,
    StepRule,
    StepStart,
    StepStarted,
)
from domain.target import SshConnection

JOB = "job/rotate"
RUN_ID = "rotate.018f4e5c-7a3b-7c1d-9e2f-0123456789ab"
RUN = f"run/{RUN_ID}"
SSH = SshConnection("deploy")
SSH_FAILURE = Failure("connect_failed", "refused")


def job(**more: Any) -> JobDefinition:
    steps = (CommandStep(name="one", run="true"), CommandStep(name="two", run="true", retries=Retries(2, 5), idempotent=True))
    return JobDefinition(**{"targets": "env=prod", "steps": steps, **more})


def defined(**more: Any) -> list[Any]:
    return [JobDefined("rotate", 1, job(**more))]


ARCHIVED = JobArchived()


def rules(*steps: StepRule, lose: bool = False, **strategy: Any) -> RunRules:
    return RunRules(steps or (StepRule("one"), StepRule("two")), Strategy(**strategy), 86_400, "lose" if lose else "resume")


def requested(its_rules: RunRules | None = None) -> RunRequested:
    return RunRequested("rotate", 1, {}, "env=prod", "", its_rules or rules())


def target(name: str) -> PlannedTarget:
    return PlannedTarget(name, 3, f"{name}.example", {"env": "prod"}, SSH)


def planned(names: str, its_rules: RunRules | None = None, part: int = 1, parts: int = 1) -> RunPlanned:
    steps = tuple(step.name for step in (its_rules or rules()).steps)
    return RunPlanned(part, parts, 1, steps, tuple(map(target, names.split())))


def plan(names: str, part: int = 1, parts: int = 1, executor: str = "e1", epoch: int = 1) -> PlanRun:
    return PlanRun(executor, epoch, part, parts, tuple(map(target, names.split())))


def claimed(executor: str = "e1", epoch: int = 1) -> RunClaimed:
    return RunClaimed(executor, epoch)


def ready(names: str, its_rules: RunRules | None = None) -> list[Event]:
    """Requested, claimed by e1 under epoch 1, planned over these targets."""
    return [requested(its_rules), claimed(), planned(names, its_rules)]


def start(where: str, attempt: int = 1) -> StepStart:
    """`start("web:one")`."""
    name, _, step = where.partition(":")
    return StepStart(step, name, attempt)


def end(where: str, state: Any = "succeeded", attempt: int = 1, **more: Any) -> StepEnd:
    name, _, step = where.partition(":")
    return StepEnd(step, name, attempt, state, **more)


def report(*entries: StepStart | StepEnd, timed_out: bool = False, executor: str = "e1", epoch: int = 1) -> ReportRun:
    return ReportRun(executor, epoch, entries, timed_out)


STARTED = RunStarted()


def started(where: str, attempt: int = 1, epoch: int = 1) -> StepStarted:
    name, _, step = where.partition(":")
    return StepStarted(step, name, attempt, epoch)


def ended(where: str, state: Any = "succeeded", done: Any = None, attempt: int = 1, **more: Any) -> StepFinished:
    """`done` is the target's final state, if it is done."""
    name, _, step = where.partition(":")
    fixed = {"epoch": 1, "exit_code": None, "error": None, "output_end": None, "retry": False, "target_state": done}
    return StepFinished(**{"step": step, "target": name, "attempt": attempt, "state": state, **fixed, **more})


def finished(state: Any, **targets: int) -> RunFinished:
    return RunFinished(state, targets)

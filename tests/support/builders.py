"""Commands as a sender would make them, with everything a test does not care about filled in."""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4, uuid5

from domain.identity import JOB, RUN, TARGET, run_id, stream_of
from domain.job.decide import DefineJob
from domain.job.definition import CommandStep, JobDefinition
from domain.run.messages import ClaimRun, FailRun, Failure, RequestRun
from domain.target import ChangeTarget, RegisterTarget, SshConnection
from schemas.actor import Actor, system
from schemas.command_envelope import CommandEnvelope
from schemas.command_types import TABLE
from schemas.payload import to_json

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
ALICE = Actor("user", "alice")
EXECUTOR = system("executor")
_RUNS = UUID("00000000-0000-0000-0000-00000000000a")


def envelope(
    payload: Any,
    stream: str,
    *,
    actor: Actor | None = None,
    command_id: UUID | None = None,
    expected_version: int | None = None,
    time: datetime = NOON,
    **more: Any,
) -> CommandEnvelope:
    """The command `payload` to `stream`, by alice or the executor as its lane wants; any other field by its name."""
    kind = type(payload).__name__
    content = to_json(payload)
    fields = {
        "command_id": command_id or uuid4(),
        "type": kind,
        "stream": stream,
        "payload": content,
        "actor": actor or (ALICE if TABLE[kind].lane == "people" else EXECUTOR),
        "correlation_id": "correlation-1",
        "time": time,
        "fingerprint": sha256(content).hexdigest(),
        "expected_version": expected_version,
    }
    return CommandEnvelope(**{**fields, **more})


def register_target(name: str = "web-01", **more: Any) -> CommandEnvelope:
    """Registers a target."""
    payload = RegisterTarget(name, f"{name}.example.org", SshConnection("deploy-key"), labels={"env": "prod"})
    return envelope(payload, stream_of(TARGET, name), **more)


def retitle_target(name: str = "web-01", title: str = "another title", **more: Any) -> CommandEnvelope:
    """Gives a target another title."""
    return envelope(ChangeTarget(title=title), stream_of(TARGET, name), **more)


def job_definition(**more: Any) -> JobDefinition:
    """A job of one step on all targets of production."""
    return JobDefinition(**{"targets": "env=prod", "steps": (CommandStep(name="say", run="echo ok"),), **more})


def define_job(name: str = "backup", *, definition: JobDefinition | None = None, **more: Any) -> CommandEnvelope:
    """Defines a job."""
    return envelope(DefineJob(name, definition or job_definition()), stream_of(JOB, name), **more)


def run_of(job: str = "backup", number: int = 1) -> str:
    """The id of a job's run, the same for the same number."""
    return run_id(job, uuid5(_RUNS, str(number)))


def request_run(run: str | None = None, *, revision: int = 1, **more: Any) -> CommandEnvelope:
    """Asks for a run."""
    run = run or run_of()
    return envelope(RequestRun(run.rpartition(".")[0], revision, {}), stream_of(RUN, run), **more)


def claim_run(run: str | None = None, *, epoch: int = 1, executor: str = "executor-1", **more: Any) -> CommandEnvelope:
    """An executor takes a run."""
    return envelope(ClaimRun(executor, epoch), stream_of(RUN, run or run_of()), **more)


def fail_run(run: str | None = None, *, epoch: int = 1, executor: str = "executor-1", **more: Any) -> CommandEnvelope:
    """The executor that holds a run ends it at once: the shortest way to a finished run."""
    error = Failure("test", "the test ends it")
    return envelope(FailRun(executor, epoch, error), stream_of(RUN, run or run_of()), **more)

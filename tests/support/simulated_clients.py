"""What do people do? They define jobs, request runs, cancel, change targets, ask for checks, and send the same command twice."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from random import Random
from typing import Any
from uuid import UUID

from domain.credential import CreateCredential, RotateCredential
from domain.identity import CREDENTIAL, JOB, RUN, TARGET, name_of, run_id, stream_of
from domain.job.decide import ArchiveJob, DefineJob, ReviseJob
from domain.job.definition import CommandStep, JobDefinition, Retries, Strategy
from domain.run.messages import CancelRun, RequestRun
from domain.target import ChangeTarget, RegisterTarget, RequestTargetCheck, RetireTarget, SshConnection
from schemas.actor import Actor
from schemas.command_envelope import CommandEnvelope, people_command_id
from schemas.log import CommandSender, LogUnavailable, Outcomes, ResultUnknown
from schemas.outcome import Accepted, Rejected, result_for
from schemas.payload import to_json
from schemas.vault import Vault, bound_to_credential
from tests.support.evidence import Told
from tests.support.simulated_ports import SimulatedClock

ANSWER_WITHIN_S = 3.0
PEOPLE = (Actor("user", "alice"), Actor("user", "bob"))
JOBS = ("backup", "patch", "restart")


@dataclass
class Notebook:
    """What all clients together know, whichever API they use; it outlives every process."""

    dice: Random
    targets: tuple[str, ...]
    told: list[Told] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    revisions: dict[str, int] = field(default_factory=dict)
    numbers: int = 0

    def next(self) -> int:
        self.numbers += 1
        return self.numbers


class Client:
    """One API's clients; `ports` are those of the API's process."""

    def __init__(self, book: Notebook, sender: CommandSender, outcomes: Outcomes, vault: Vault, clock: SimulatedClock) -> None:
        self._book, self._sender, self._outcomes, self._vault, self._clock = book, sender, outcomes, vault, clock

    async def furnish(self) -> Sequence[CommandEnvelope]:
        """What somebody asked for before anything began, so that there is something to run from the first moment on."""
        dice = self._book.dice
        secret = json.dumps({"username": "ops", "password": "deploy-password-1"}).encode()
        await self._vault.seal("s1", bound_to_credential("key", 1), secret)
        wanted: list[tuple[Any, str]] = [(CreateCredential("key", "password", "s1"), stream_of(CREDENTIAL, "key"))]
        for number, name in enumerate(self._book.targets[:-1]):
            labels = {"env": "prod" if number == 0 else dice.choice(("prod", "prod", "test"))}
            wanted.append((RegisterTarget(name, "192.0.2.1", SshConnection("key"), labels=labels), stream_of(TARGET, name)))
        some = some_job(dice)
        wanted.append((DefineJob(JOBS[0], replace(some, targets=dice.choice(("env=prod", "env")))), stream_of(JOB, JOBS[0])))
        wanted += [(DefineJob(name, some_job(dice)), stream_of(JOB, name)) for name in JOBS[1:]]
        commands = [self._command(payload, stream, key=f"furnish {stream}") for payload, stream in wanted]
        self._book.told += map(Told, commands)
        return commands

    async def act(self, until_s: float, pace_s: float) -> None:
        """Do one thing after another until that loop time; a run comes first, since most of what may go wrong is about runs."""
        loop, dice = asyncio.get_running_loop(), self._book.dice
        deeds: tuple[Callable[[], CommandEnvelope], ...] = (
            *(self._request,) * 5,
            *(self._cancel,) * 2,
            *(self._change,) * 2,
            self._revise,
            self._check,
            self._again,
            self._reuse,
            self._register_or_retire,
        )
        while loop.time() < until_s:
            await asyncio.sleep(dice.uniform(0, pace_s))
            if self._book.runs and dice.random() < 0.03:
                await self._rotate()
                continue
            command = dice.choice(deeds)() if self._book.runs else self._request()
            for _ in range(dice.choice((1, 1, 1, 2))):
                await self._ask(command)

    def _request(self) -> CommandEnvelope:
        dice, is_first = self._book.dice, not self._book.runs
        job = dice.choice(JOBS[:1] if is_first else JOBS)
        run = run_id(job, UUID(int=dice.getrandbits(128)))
        self._book.runs.append(run)
        narrowed = dice.choice((None, None, "env=prod"))
        return self._command(RequestRun(job, self._book.revisions.get(job, 1), {}, narrowed), stream_of(RUN, run))

    def _cancel(self) -> CommandEnvelope:
        if len(self._book.runs) < 2:
            return self._request()  # the only one may live
        return self._command(CancelRun("enough"), stream_of(RUN, self._book.dice.choice(self._book.runs[-4:])))

    def _change(self) -> CommandEnvelope:
        dice = self._book.dice
        expected = dice.choice((None, None, 1, 2, 3))
        change = dice.choice((ChangeTarget(title=f"title {self._book.next()}"), ChangeTarget(labels={"env": "prod"})))
        return self._command(change, stream_of(TARGET, dice.choice(self._book.targets)), expected_version=expected)

    def _revise(self) -> CommandEnvelope:
        job = self._book.dice.choice(JOBS)
        if self._book.dice.random() < 0.05:
            return self._command(ArchiveJob(), stream_of(JOB, job))
        return self._command(ReviseJob(some_job(self._book.dice)), stream_of(JOB, job))

    def _check(self) -> CommandEnvelope:
        check = str(UUID(int=self._book.dice.getrandbits(128)))
        return self._command(RequestTargetCheck(check), stream_of(TARGET, self._book.dice.choice(self._book.targets)))

    def _register_or_retire(self) -> CommandEnvelope:
        name = self._book.dice.choice(self._book.targets[-3:])
        if self._book.dice.random() < 0.3:
            return self._command(RetireTarget(), stream_of(TARGET, name))
        target = RegisterTarget(name, "192.0.2.2", SshConnection("key"), labels={"env": "prod"})
        return self._command(target, stream_of(TARGET, name))

    def _again(self) -> CommandEnvelope:
        """An old command, long after it was sent."""
        return self._book.dice.choice(self._book.told).command

    def _reuse(self) -> CommandEnvelope:
        """Another command under an old one's id."""
        old = self._book.dice.choice(self._book.told).command
        payload = to_json(ChangeTarget(title="another"))
        return CommandEnvelope(
            command_id=old.command_id,
            type="ChangeTarget",
            stream=old.stream,
            payload=payload,
            actor=old.actor,
            correlation_id=f"c-{self._book.next()}",
            time=self._clock.now(),
            fingerprint=sha256(b"ChangeTarget" + payload + str(self._book.next()).encode()).hexdigest(),
        )

    async def _rotate(self) -> None:
        """Seal first, then say so, as the API does."""
        revision = self._book.revisions.get("key", 1) + 1
        secret = f"s{revision}-{self._book.next()}"
        clear = json.dumps({"username": "ops", "password": f"deploy-password-{revision}"}).encode()
        await self._vault.seal(secret, bound_to_credential("key", revision), clear)
        result = await self._ask(self._command(RotateCredential("password", secret, revision), stream_of(CREDENTIAL, "key")))
        if result is not None:  # rejected: it was rotated before, and nobody heard the answer
            self._book.revisions["key"] = revision

    def _command(self, payload: Any, stream: str, key: str | None = None, expected_version: int | None = None) -> CommandEnvelope:
        actor = self._book.dice.choice(PEOPLE) if key is None else PEOPLE[0]
        number = self._book.next()
        content, kind = to_json(payload), type(payload).__name__
        return CommandEnvelope(
            command_id=people_command_id(actor, stream, key or str(number)),
            type=kind,
            stream=stream,
            payload=content,
            actor=actor,
            correlation_id=f"c-{number}",
            time=self._clock.now(),
            fingerprint=sha256(kind.encode() + content + (key or str(number)).encode()).hexdigest(),
            expected_version=expected_version,
        )

    async def _ask(self, command: CommandEnvelope) -> Accepted | Rejected | None:
        """Send it and write down what is said; every time it is sent is an entry of its own."""
        entry = Told(command)
        self._book.told.append(entry)
        try:
            await self._sender.send(command)
            outcome = await self._outcomes.wait(command.command_id, ANSWER_WITHIN_S)
        except (LogUnavailable, ResultUnknown):
            return None
        entry.result = result_for(command, outcome) if outcome else None
        if isinstance(entry.result, Accepted) and command.type == "ReviseJob":
            self._book.revisions[name_of(command.stream)] = entry.result.version
        return entry.result


def some_job(dice: Random) -> JobDefinition:
    """Any job the rules allow, small and quick."""
    steps = tuple(
        CommandStep(
            name=f"step-{number}",
            run="echo ok",
            timeout_s=dice.choice((3, 10, 20)),
            idempotent=dice.random() < 0.3,
            retries=Retries(dice.choice((0, 0, 1, 2)), dice.choice((0, 1.5))),
            on_failure=dice.choice(("stop", "stop", "continue")),
        )
        for number in range(dice.choice((1, 2, 3)))
    )
    return JobDefinition(
        targets=dice.choice(("env=prod", "env=prod", "env", "env=none")),
        steps=steps,
        strategy=Strategy(
            batch_size=dice.choice((None, None, 1, 2, "50%")),
            parallelism=dice.choice((1, 2, 20)),
            max_failures=dice.choice((None, None, 0, 1)),
        ),
        on_executor_loss=dice.choice(("resume", "resume", "resume", "lose")),
        timeout_s=dice.choice((15, 60, 3_600)),
        concurrency=dice.choice(("allow", "allow", "forbid", "queue", "replace")),
    )

"""A whole system in one process and fake time: the memory log, an owner, executors, a sweeper and a simulated fleet."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from domain.credential import CreateCredential
from domain.identity import CREDENTIAL, JOB, RUN, TARGET, name_of, stream_of
from domain.job.decide import DefineJob, JobDefined, JobRevised
from domain.job.definition import JobDefinition
from domain.run.messages import (
    PlannedTarget,
    RequestRun,
    RunClaimed,
    RunFinished,
    RunRequested,
    RunResumed,
    StepStarted,
)
from domain.selector import Selector, matches
from domain.target import RegisterTarget, SshConnection, TargetChecked, TargetCheckRequested, TargetRegistered
from infra.memory.log import MemoryLog
from infra.memory.state_store import MemoryStateStores
from processors.bindings.embedded import feed_events
from processors.executor.connector import Ending, Endpoint, Exited, Invocation, Killed, Login, OutputSink, Reached
from processors.executor.inventory import CredentialEntry, InventoryUnavailable, UnfinishedRun
from processors.executor.runtime import ExecutorPorts, ExecutorRuntime, ExecutorSettings
from processors.sweeper.runtime import SweeperPorts, SweeperRuntime
from schemas.event_envelope import EventEnvelope, RecordedEvent
from schemas.event_types import event_of
from schemas.outcome import Accepted
from schemas.position import Partition
from schemas.run_output import OutputChunk
from schemas.topics import EVENT_TOPICS, RUN_OUTPUT
from schemas.vault import SecretUnavailable, bound_to_credential
from tests.commands.owning import running
from tests.processors.fake_time import FakeClock
from tests.support.builders import envelope, job_definition, run_of

LEASE_S = 15.0
SECRET = "deploy-password-1"


class ReadModel:
    """The read models, folded from the log whenever asked; can be made unavailable, or not to know some streams."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.available = True
        self.hidden: set[str] = set()

    async def events(self) -> list[RecordedEvent]:
        await asyncio.sleep(0)
        if not self.available:
            raise InventoryUnavailable("the test says so")
        found = []
        for topic in EVENT_TOPICS:
            for shard in range(self._log.shards):
                feed = await self._log.reader.feed({Partition(topic, shard): 0})
                while records := await feed.read(1_000, 0):
                    found += [RecordedEvent(r.body, r.position) for r in records]  # type: ignore[arg-type]
        return [each for each in found if each.event.stream not in self.hidden]

    async def domain(self, kind: str) -> list[tuple[EventEnvelope, Any]]:
        return [(e.event, event_of(e.event)) for e in await self.events() if e.event.stream.startswith(f"{kind}/")]

    async def targets(self, selector: Selector) -> Sequence[PlannedTarget]:
        found = [
            PlannedTarget(event.name, said.version, event.host, event.labels, event.connection)
            for said, event in await self.domain(TARGET)
            if isinstance(event, TargetRegistered) and matches(selector, event.name, event.labels)
        ]
        return sorted(found, key=lambda target: target.name)

    async def target(self, name: str) -> PlannedTarget | None:
        found = [e.event for e in await self.events() if e.event.stream == stream_of(TARGET, name)]
        if not found:
            return None
        event = event_of(found[0])
        return PlannedTarget(name, found[-1].version, event.host, event.labels, event.connection)

    async def credential(self, name: str) -> CredentialEntry | None:
        for _, event in await self.domain(CREDENTIAL):
            if event.name == name:
                return CredentialEntry(name, event.kind, event.revision, event.secret)
        return None

    async def job(self, name: str, revision: int) -> JobDefinition | None:
        for said, event in await self.domain(JOB):
            if isinstance(event, JobDefined | JobRevised) and name_of(said.stream) == name and event.revision == revision:
                return event.definition
        return None

    async def unfinished_runs(self) -> Sequence[UnfinishedRun]:
        runs: dict[str, UnfinishedRun] = {}
        for said, event in await self.domain(RUN):
            name = name_of(said.stream)
            known = replace(runs.get(name) or UnfinishedRun(name, 0, None, 0), version=said.version)
            match event:
                case RunRequested():
                    runs[name] = known
                case RunClaimed(executor, epoch):
                    runs[name] = replace(known, executor=executor, epoch=epoch)
                case RunResumed():
                    runs[name] = replace(known, executor=None)
                case RunFinished():
                    runs.pop(name, None)
                case _ if name in runs:
                    runs[name] = known
        return list(runs.values())

    async def history(self, stream: str) -> Sequence[RecordedEvent]:
        return [each for each in await self.events() if each.event.stream == stream]

    async def are_final(self, runs: Sequence[str]) -> bool:
        done = {name_of(said.stream) for said, event in await self.domain(RUN) if isinstance(event, RunFinished)}
        return set(runs) <= done

    async def open_checks(self) -> Sequence[tuple[str, str]]:
        checks: dict[tuple[str, str], None] = {}
        for said, event in await self.domain(TARGET):
            if isinstance(event, TargetCheckRequested):
                checks[name_of(said.stream), event.check] = None
            elif isinstance(event, TargetChecked):
                checks.pop((name_of(said.stream), event.check), None)
        return list(checks)


@dataclass
class Fleet:
    """Targets that do what the script says: see `run`. Counts every start; shared by all executors."""

    seconds: float = 1.0
    starts: Counter[str] = field(default_factory=Counter)
    running: set[str] = field(default_factory=set)
    most: int = 0
    script: Callable[[Endpoint, Invocation, OutputSink], Ending | Exception] | None = None
    environments: list[dict[str, str]] = field(default_factory=list)

    async def run(self, endpoint: Endpoint, login: Login, step: Invocation, sink: OutputSink, cancelled: asyncio.Event) -> Ending:
        self.starts[step.mark] += 1
        self.environments.append(dict(step.environment))
        self.running.add(step.mark)
        self.most = max(self.most, len(self.running))
        try:
            said = self.script(endpoint, step, sink) if self.script else Exited(0)
            if isinstance(said, Exception):
                raise said
            try:
                async with asyncio.timeout(min(self.seconds, step.timeout_s)):
                    await cancelled.wait()
            except TimeoutError:
                return Killed("timed_out") if self.seconds > step.timeout_s else said
            return Killed("cancelled")
        finally:
            self.running.discard(step.mark)

    async def check(self, endpoint: Endpoint, login: Login) -> Reached:
        return Reached(0.25, {"server": "simulated"})

    async def close(self) -> None:
        """Nothing is held."""


class Vault:
    def __init__(self) -> None:
        self.secrets: dict[str, tuple[str, bytes]] = {}

    async def seal(self, secret_id: str, bound_to: str, secret: bytes) -> None:
        self.secrets.setdefault(secret_id, (bound_to, secret))

    async def open(self, secret_id: str, bound_to: str) -> bytes:
        known = self.secrets.get(secret_id)
        if known is None or known[0] != bound_to:
            raise SecretUnavailable(secret_id)
        return known[1]

    async def destroy(self, secret_id: str) -> None:
        self.secrets.pop(secret_id, None)


class World:
    def __init__(self, shards: int = 2) -> None:
        self.log = MemoryLog(shards)
        self.read_model = ReadModel(self.log)
        self.fleet = Fleet()
        self.vault = Vault()
        self.clock = FakeClock()
        self.crashes: list[tuple[str, Exception]] = []

    def ports(self, **changed: Any) -> ExecutorPorts:
        ports = ExecutorPorts(
            sender=self.log.sender,
            outcomes=self.log.outcomes,
            records=self.log.records,
            shards=self.log.shards,
            inventory=self.read_model,
            vault=self.vault,
            connector=self.fleet,
            clock=self.clock,
            sleep=asyncio.sleep,
            crashed=lambda what, error: self.crashes.append((what, error)),
        )
        return replace(ports, **changed)

    def executor(self, name: str = "executor-1", fed: bool = True, **changed: Any) -> "RunningExecutor":
        settings = ExecutorSettings(executor=name, lease_s=LEASE_S)
        return RunningExecutor(self, ExecutorRuntime(settings, self.ports(**changed)), fed)

    @asynccontextmanager
    async def sweeping(self, lease_s: float = LEASE_S):
        ports = SweeperPorts(
            sender=self.log.sender,
            records=self.log.records,
            reader=self.log.reader,
            inventory=self.read_model,
            clock=self.clock,
            sleep=asyncio.sleep,
        )
        runtime = SweeperRuntime(lease_s, ports)
        task = asyncio.create_task(runtime.run())
        try:
            yield runtime
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def tell(self, payload: Any, stream: str, **more: Any) -> Accepted:
        command = envelope(payload, stream, time=self.clock.now(), **more)
        await self.log.sender.send(command)
        outcome = await self.log.outcomes.wait(command.command_id, 30)
        assert outcome and isinstance(outcome.result, Accepted), outcome
        return outcome.result

    async def furnish(self, targets: int = 1, labels: dict[str, str] | None = None, **job: Any) -> None:
        """A credential, `targets` targets and the job `backup`."""
        await self.vault.seal("s1", bound_to_credential("key", 1), json.dumps({"username": "ops", "password": SECRET}).encode())
        await self.tell(CreateCredential("key", "password", "s1"), stream_of(CREDENTIAL, "key"))
        for number in range(targets):
            name = f"web-{number:03}"
            target = RegisterTarget(name, "192.0.2.1", SshConnection("key"), labels={"env": "prod", **(labels or {})})
            await self.tell(target, stream_of(TARGET, name))
        await self.tell(DefineJob("backup", job_definition(**job)), stream_of(JOB, "backup"))

    async def request(self, number: int = 1, **more: Any) -> str:
        run = run_of(number=number)
        await self.tell(RequestRun("backup", 1, more.pop("parameters", {}), **more), stream_of(RUN, run))
        return run

    async def of(self, run: str) -> list[Any]:
        """The run's events so far."""
        return [event for said, event in await self.read_model.domain(RUN) if said.stream == stream_of(RUN, run)]

    async def finished(self, run: str, within_s: float = 300.0) -> RunFinished:
        """The run's end."""
        until = self.clock.monotonic() + within_s
        while self.clock.monotonic() < until:
            if (events := await self.of(run)) and (end := [e for e in events if isinstance(e, RunFinished)]):
                return end[0]
            await asyncio.sleep(0.05)
        raise AssertionError(f"{run} did not finish: {await self.of(run)}")

    async def until(self, run: str, kind: type[Any], times: int = 1) -> None:
        """Return once the run has this event so many times."""
        while sum(isinstance(event, kind) for event in await self.of(run)) < times:
            await asyncio.sleep(0.01)

    async def output(self) -> list[OutputChunk]:
        feed = await self.log.reader.feed({Partition(RUN_OUTPUT, shard): 0 for shard in range(self.log.shards)})
        return [record.body for record in await feed.read(10_000, 0)]  # type: ignore[misc]

    async def sound(self, run: str) -> None:
        """No step was started twice in an attempt, and on the fleet only what was intended."""
        started = Counter((e.step, e.target, e.attempt) for e in await self.of(run) if isinstance(e, StepStarted))
        assert all(times == 1 for times in started.values()), started
        assert all(times == 1 for times in self.fleet.starts.values()), self.fleet.starts
        assert not self.crashes, self.crashes


class RunningExecutor:
    def __init__(self, world: World, runtime: ExecutorRuntime, fed: bool) -> None:
        self.runtime = runtime
        self.task = asyncio.create_task(runtime.run())
        self._feed = asyncio.create_task(feed_events(world.log.reader, runtime.offer, asyncio.sleep)) if fed else None

    async def kill(self) -> None:
        """As kill -9: nothing more is said."""
        await self._end()

    async def stop(self) -> None:
        """In order, as on SIGTERM."""
        self.runtime.stop()
        await asyncio.wait_for(self.task, 60)
        await self._end()

    async def _end(self) -> None:
        tasks = [task for task in (self.task, self._feed) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def working(world: World, executors: int = 1, **changed: Any):
    """An owner and some executors."""
    async with running(world.log, MemoryStateStores()):
        started = [world.executor(f"executor-{number}", **changed) for number in range(1, executors + 1)]
        try:
            yield started
        finally:
            for executor in started:
                await executor.kill()

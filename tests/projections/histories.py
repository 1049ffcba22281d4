"""Histories that could have been: the real deciders answer random commands, most of them valid."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

from domain import credential, role, target
from domain.access import Limits
from domain.audit.hash_chain import GENESIS
from domain.decider import Companion, Decider
from domain.identity import is_listed, kind_of, listed_name, partition_key, run_id, stream_of
from domain.job import decide as job
from domain.job.definition import CommandStep, JobDefinition, Retries, Strategy
from domain.job.parameters import Parameter, SealedValue
from domain.rejection import Rejection
from domain.run import messages as run
from domain.run.decide import DECIDER as RUN_DECIDER
from domain.run.progress import startable
from domain.run.state import Active, Final, Requested
from domain.target import SshConnection
from domain.user import decide as deciding_user
from domain.user import messages as user
from infra.memory.log import MemoryLog
from schemas.actor import Actor, system
from schemas.event_envelope import EventEnvelope, hash_of
from schemas.event_types import TABLE
from schemas.partitioning import shard_of
from schemas.payload import to_json
from schemas.position import Partition, Position
from schemas.run_output import OutputChunk
from schemas.topics import EVENT_TOPIC, RUN_OUTPUT
from schemas.wire import encode
from tests.support.builders import NOON

DECIDERS: dict[str, Decider[Any, Any, Any]] = {
    "target": target.DECIDER,
    "credential": credential.DECIDER,
    "user": deciding_user.DECIDER,
    "role": role.DECIDER,
    "job": job.DECIDER,
    "run": RUN_DECIDER,
}
ALICE, BOB = Actor("user", "alice"), Actor("user", "bob")


@dataclass
class History:
    """What happened in each stream, in its order; hashes and positions come when it is written to a log."""

    random: Random
    streams: dict[str, list[EventEnvelope]] = field(default_factory=lambda: defaultdict(list))
    states: dict[str, Any] = field(default_factory=dict)
    output: list[OutputChunk] = field(default_factory=list)
    ticks: int = 0

    def state(self, stream: str) -> Any:
        return self.states.get(stream, DECIDERS[kind_of(stream)].initial_state)

    def give(self, stream: str, command: Any, actor: Actor = ALICE, behalf: Actor | None = None) -> list[Any]:
        """The events that `command` causes; none if it is rejected."""
        decider = DECIDERS[kind_of(stream)]
        companion = decider.companion(command)
        seen = Companion(self.state(companion), self._listed(companion)) if companion else None
        try:
            events = list(decider.decide(command, self.state(stream), seen))
        except Rejection:
            return []
        self.record(stream, *events, actor=actor, behalf=behalf)
        return events

    def record(self, stream: str, *events: Any, actor: Actor = ALICE, behalf: Actor | None = None) -> None:
        """These events, whatever a decider of today would say."""
        self.states[stream] = DECIDERS[kind_of(stream)].fold(self.state(stream), events)
        for event in events:
            self.streams[stream].append(self._envelope(stream, event, actor, behalf))

    def _listed(self, key: str) -> tuple[str, ...]:
        return tuple(
            DECIDERS[kind_of(stream)].listed_as(state, listed_name(stream))
            for stream, state in self.states.items()
            if is_listed(stream) and partition_key(stream) == key and not DECIDERS[kind_of(stream)].is_finished(state)
        )

    def _envelope(self, stream: str, event: Any, actor: Actor, behalf: Actor | None) -> EventEnvelope:
        self.ticks += 1
        kind = type(event).__name__
        return EventEnvelope(
            event_id=UUID(int=self.random.getrandbits(128)),
            type=kind,
            schema_version=TABLE[kind][0],
            stream=stream,
            version=len(self.streams[stream]) + 1,
            payload=to_json(event),
            actor=actor,
            on_behalf_of=behalf,
            time=NOON + timedelta(milliseconds=self.ticks),
            command_id=UUID(int=self.random.getrandbits(128)),
            correlation_id=f"correlation-{self.ticks % 7}",
            previous_hash="",
            hash="",
        )

    def interleaved(self, random: Random) -> list[EventEnvelope]:
        """All events, each stream in its order, the streams mixed anew."""
        left = {stream: list(events) for stream, events in self.streams.items() if events}
        order = [stream for stream, events in left.items() for _ in events]
        random.shuffle(order)
        return [left[stream].pop(0) for stream in order]


class Writer:
    """Puts events into a memory log as the owner of their shard would: chained, each in its partition."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.last: dict[Partition, str] = {}

    def partition(self, stream: str) -> Partition:
        return Partition(EVENT_TOPIC[kind_of(stream)], shard_of(stream, self.log.shards))

    def chained(self, event: EventEnvelope) -> EventEnvelope:
        linked = replace(event, previous_hash=self.last.get(self.partition(event.stream), GENESIS))
        linked = replace(linked, hash=hash_of(linked))
        self.last[self.partition(event.stream)] = linked.hash
        return linked

    def write(self, events: Iterable[EventEnvelope]) -> list[Position]:
        placed = [(self.partition(event.stream), encode(self.chained(event))) for event in events]
        return [Position(*partition, self.log.put(partition, record)) for partition, record in placed]

    def write_output(self, chunks: Iterable[OutputChunk]) -> None:
        for chunk in chunks:
            self.log.put(Partition(RUN_OUTPUT, shard_of(f"run/{chunk.run}", self.log.shards)), encode(chunk))

    def ends(self, topics: Sequence[str]) -> dict[Partition, int]:
        of = [Partition(topic, shard) for topic in topics for shard in range(self.log.shards)]
        return {partition: self.log.storage.end(partition) for partition in of}


def random_history(random: Random, commands: int) -> History:
    """A history of about `commands` commands over a few aggregates of every type."""
    history = History(random)
    history.give("user/admin", user.CreateFirstAdministrator("admin", "vault-1"), system("setup"))
    for name in ("deploy", "root"):
        history.give(f"credential/{name}", credential.CreateCredential(name, "password", f"vault-{name}"))
    for name in ("web-01", "web-02", "db-01"):
        labels = {"env": random.choice(["prod", "test"]), "role": name[:-3]}
        history.give(f"target/{name}", target.RegisterTarget(name, f"{name}.example.org", SshConnection("deploy"), labels=labels))
    for name in ("backup", "patch"):
        history.give(f"job/{name}", job.DefineJob(name, _definition(random)))
    moves = [_change_user, _change_role, _change_target, _change_credential, _change_job, _request_run, *[_work_on_run] * 20]
    for _ in range(commands):
        random.choice(moves)(history, random)
    return history


def _definition(random: Random) -> JobDefinition:
    steps = tuple(
        CommandStep(
            name=f"step-{n}",
            run="echo ok",
            idempotent=random.random() < 0.5,
            retries=Retries(max=random.randrange(3)),
            on_failure=random.choice(["stop", "continue"]),
        )
        for n in range(random.randint(1, 3))
    )
    return JobDefinition(
        title=random.choice(["", "Ünïcødé \U0001f600"]),
        targets="env=prod",
        steps=steps,
        parameters=(Parameter(name="token", type="secret", required=False), Parameter(name="days", type="integer", default=7)),
        strategy=Strategy(batch_size=random.choice([None, 1, 2]), max_failures=random.choice([None, 0, 1])),
        on_executor_loss=random.choice(["resume", "lose"]),
        concurrency=random.choice(["allow", "forbid", "queue", "replace"]),
    )


def _change_user(history: History, random: Random) -> None:
    name, session, token = random.choice(["admin", "bob", "ci"]), f"s-{random.randrange(4)}", f"t-{random.randrange(3)}"
    roles = tuple(random.sample(["viewer", "operator", "administrator"], random.randrange(3)))
    history.give(
        f"user/{name}",
        random.choice(
            [
                user.CreateUser(name, random.choice([None, "vault-5"]), roles, random.choice([None, "vault-2"])),
                user.ChangeUser(
                    random.choice([None, "", "vault-6"]), random.choice([None, roles]), random.choice([None, True, False])
                ),
                user.ChangePassword(
                    f"vault-{random.randrange(3)}", random.choice([None, "vault-2"]), random.choice([None, session])
                ),
                user.RecordSignIn(session, random.choice([None, "vault-2"])),
                user.SignInWithProvider(name, f"digest-{name}", roles, session, "vault-8", "vault-7"),
                user.UnlinkIdentity(),
                user.RecordSignInFailures(3, NOON, NOON),
                user.RecordDeniedCommands({"jobs.write": 2}, NOON, NOON, (user.Denials("jobs.write", "job/web", 1),)),
                user.EndSessions(random.choice([None, (session,)]), "sign_out", random.choice([None, session])),
                user.IssueToken(token, "CI", "vault-4", random.choice([None, ("runs.start",)]), NOON),
                user.RevokeToken(token),
                *([user.EraseUser()] if random.random() < 0.1 else []),
            ]
        ),
    )


def _change_role(history: History, random: Random) -> None:
    name, limits = random.choice(["web-op", "db-op"]), Limits(random.choice([None, "env=prod"]), "web-*")
    commands = [
        role.DefineRole(name, ("jobs.read",), "Web", limits),
        role.ChangeRole(random.choice([None, "Else"]), random.choice([None, ("jobs.read", "runs.start")]), limits),
        role.RemoveRole() if random.random() < 0.2 else role.ChangeRole(),
    ]
    history.give(f"role/{name}", random.choice(commands))


def _change_target(history: History, random: Random) -> None:
    name = random.choice(["web-01", "web-02", "db-01"])
    command = random.choice(
        [
            target.ChangeTarget(title=f"title {random.randrange(9)}"),
            target.ChangeTarget(labels={"env": random.choice(["prod", "test", None])}),
            target.ChangeTarget(host="elsewhere.example.org", connection=target.ConnectionChange(port=random.randint(1, 99))),
            target.ChangeTarget(connection=target.ConnectionChange(forget_host_key=True)),
            target.RequestTargetCheck(f"check-{random.randrange(5)}"),
            target.RecordTargetCheck(f"check-{random.randrange(5)}", random.random() < 0.5, 0.25, details={"kex": "x"}),
            target.RetireTarget() if random.random() < 0.2 else target.ChangeTarget(clear_labels=True),
        ]
    )
    history.give(f"target/{name}", command)


def _change_credential(history: History, random: Random) -> None:
    stream = stream_of("credential", random.choice(["deploy", "root"]))
    revision = history.state(stream).revision + 1
    rotate = credential.RotateCredential("password", f"vault-{revision}", revision)
    history.give(stream, credential.RevokeCredential() if random.random() < 0.1 else rotate, BOB)


def _change_job(history: History, random: Random) -> None:
    stream = stream_of("job", random.choice(["backup", "patch"]))
    history.give(stream, job.ArchiveJob() if random.random() < 0.05 else job.ReviseJob(_definition(random)), BOB)


def _request_run(history: History, random: Random) -> None:
    name = random.choice(["backup", "patch"])
    stream = stream_of("run", run_id(name, UUID(int=random.getrandbits(128))))
    values = {"token": SealedValue("vault-token")} if random.random() < 0.5 else {"days": random.randrange(100)}
    revision = history.state(f"job/{name}").revision
    history.give(stream, run.RequestRun(name, revision, values, reason="because"), system("scheduler"), ALICE)


def _work_on_run(history: History, random: Random) -> None:
    open_runs = [s for s, state in history.states.items() if s.startswith("run/") and state is not None]
    if not open_runs:
        return
    stream = random.choice(open_runs)
    state = history.state(stream)
    if isinstance(state, Final):
        entry = run.StepEnd("step-0", "web-01", 1, "succeeded", 0)
        history.give(stream, run.RecordLateReport("ghost", 1, (entry,)), system("executor"))
        return
    if random.random() < 0.05:
        history.give(stream, run.CancelRun("enough"), BOB)
        return
    if state.claim.executor is None:
        history.give(stream, run.ClaimRun(f"executor-{random.randrange(3)}", state.claim.epoch + 1), system("executor"))
        return
    _by_holder(history, random, stream, state)


def _by_holder(history: History, random: Random, stream: str, state: Requested | Active) -> None:
    executor, epoch = state.claim.executor or "", state.claim.epoch
    if random.random() < 0.08:
        history.give(stream, run.ExpireClaim(executor, epoch), system("sweeper"))
    elif isinstance(state, Requested):
        _plan(history, random, stream, state)
    elif random.random() < 0.03:
        history.give(stream, run.ReportRun(executor, epoch, timed_out=True), system("executor"))
    else:
        _report(history, random, stream, state)


def _plan(history: History, random: Random, stream: str, state: Requested) -> None:
    executor, epoch = state.claim.executor or "", state.claim.epoch
    if random.random() < 0.1:
        history.give(stream, run.FailRun(executor, epoch, run.Failure("no", "cannot")), system("executor"))
        return
    names = ["db-01", "web-01", "web-02"][: random.randint(0, 3)]
    planned = [run.PlannedTarget(n, 1, "h", {"env": "prod"}, SshConnection("deploy")) for n in names]
    cut = random.randint(0, len(planned))
    parts = [planned] if random.random() < 0.5 else [planned[:cut], planned[cut:]]
    begin = 1 if random.random() < 0.5 else state.parts + 1
    for number in range(begin, len(parts) + 1):
        command = run.PlanRun(executor, epoch, number, len(parts), tuple(parts[number - 1]))
        history.give(stream, command, system("executor"))
        if random.random() < 0.3:
            return


def _report(history: History, random: Random, stream: str, state: Active) -> None:
    entries: list[run.Entry] = [
        run.StepEnd(
            state.rules.steps[progress.step].name,
            name,
            progress.attempt,
            end := random.choice(["succeeded", "succeeded", "succeeded", "failed", "timed_out", "unreachable", "cancelled"]),
            0 if end == "succeeded" else random.choice([1, None]),
            None if end == "succeeded" else run.Failure(end, "it did not work"),
            random.choice([None, 100 + history.ticks]),
        )
        for name, progress in state.active.items()
        if progress.running and random.random() < 0.7
    ]
    entries += [start for start in startable(state) if random.random() < 0.7]
    report = run.ReportRun(state.claim.executor or "", state.claim.epoch, tuple(entries))
    for event in history.give(stream, report, system("executor")):
        if isinstance(event, run.StepStarted):
            _write_output(history, random, stream, event)


def _write_output(history: History, random: Random, stream: str, event: run.StepStarted) -> None:
    for sequence in range(1, random.randint(1, 4)):
        chunk = OutputChunk(
            run=stream.partition("/")[2],
            target=event.target,
            step=event.step,
            step_index=int(event.step[-1]),
            attempt=event.attempt,
            stream=random.choice(["stdout", "stderr"]),
            sequence=sequence,
            time=NOON,
            text=random.choice(["ok\n", "ünï", "\ufffd", "nul \x00"]),
        )
        history.output += [chunk] * random.choice([1, 1, 2])

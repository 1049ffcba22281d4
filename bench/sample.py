"""Which commands does the command path's bench send, and what do their records look like?"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

from commands.deciders import TABLE
from commands.settle import StreamState, settle
from domain.audit.hash_chain import GENESIS
from domain.identity import kind_of
from domain.target import RegisterTarget, SshConnection
from schemas.actor import Actor
from schemas.command_envelope import CommandEnvelope
from schemas.log import TakenCommand
from schemas.outcome import Outcome
from schemas.payload import to_json
from schemas.position import Position
from schemas.topics import COMMANDS_PEOPLE
from schemas.wire import WireRecord, encode_event, encode_outcome

_WHO = Actor("user", "admin")
_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA" + "I" + "A" * 43


def command(name: str) -> CommandEnvelope:
    """Register a target of this name: one event, one outcome."""
    connection = SshConnection(credential="deploy-key", port=22, host_key=_HOST_KEY)
    payload = RegisterTarget(name, "10.0.0.5", connection, "A web server", {"env": "prod", "role": "web"})
    return CommandEnvelope(
        command_id=uuid4(),
        type="RegisterTarget",
        stream=f"target/{name}",
        payload=to_json(payload),
        actor=_WHO,
        correlation_id=str(uuid4()),
        time=datetime.now(UTC),
        fingerprint="f" * 64,
    )


def commands(count: int) -> Iterator[CommandEnvelope]:
    """So many commands for streams that nobody has used before."""
    batch = uuid4().hex[:12]
    return (command(f"t-{batch}-{n}") for n in range(count))


class _NothingYet:
    """A shard before its first event."""

    def remembered(self, command_id: UUID) -> Outcome | None:
        return None

    def stream(self, stream: str) -> StreamState:
        return StreamState(0, TABLE[kind_of(stream)].decider.initial_state)

    def unfinished(self, key: str) -> tuple[str, ...]:
        return ()

    def head(self, topic: str) -> str:
        return GENESIS


@dataclass(frozen=True, slots=True)
class Answer:
    """The records that the owner writes for one such command; a bare loop writes as many bytes."""

    event: WireRecord
    outcome: WireRecord


def answer() -> Answer:
    """What one command comes to."""
    taken = TakenCommand(Position(COMMANDS_PEOPLE, 0, 0), command("t-" + "0" * 12 + "-1000"))
    settled = settle(taken, _NothingYet())
    return Answer(encode_event(settled.events[0]), encode_outcome(settled.outcome))

"""What becomes of one command? Its events and its outcome, from the command and what its shard knows; nothing else.

In this order: unreadable? known already? admitted? the expected version? the payload? and only then the decider. Whatever a
decider does, the command gets an outcome: a bug in one must not hold up the shard.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from commands.admission import ACTOR_KINDS, MAX_ACTOR, MAX_FINGERPRINT, admit
from commands.deciders import TABLE
from commands.recording import recorded
from domain.decider import Companion, Decider
from domain.identity import name_of, partition_key
from domain.rejection import Rejection, Stale
from schemas.actor import Actor, system
from schemas.command_envelope import CommandEnvelope
from schemas.derived_id import derived_id
from schemas.event_envelope import EventEnvelope
from schemas.log import TakenCommand, Undecodable
from schemas.outcome import Accepted, Outcome, Rejected
from schemas.payload import from_json
from schemas.position import Position
from schemas.quickly_made import quickly_made
from schemas.wire import topic_of

_UNREADABLE = UUID("7d1cbbf0-0c2b-5f5e-9d0c-2f0f7a6d9c03")
_NO_TIME = datetime.fromtimestamp(0, UTC)
_NOBODY = system("unknown")

MAX_MESSAGE = 2_000
_MAX_NAME = 300


@quickly_made
@dataclass(frozen=True, slots=True)
class StreamState:
    """What is known of one stream: its version (0 before its first event) and its state."""

    version: int
    state: Any


class ShardView(Protocol):
    """What a shard knows, everything decided before included."""

    def remembered(self, command_id: UUID) -> Outcome | None:
        """The outcome remembered under a command id."""
        ...

    def stream(self, stream: str) -> StreamState:
        """A stream of this shard."""
        ...

    def unfinished(self, key: str) -> tuple[str, ...]:
        """The ids of the unfinished streams that live with `key`, in the order they began."""
        ...

    def head(self, topic: str) -> str:
        """The hash of the last event of this shard in an event topic."""
        ...


@quickly_made
@dataclass(frozen=True, slots=True)
class Settled:
    """One command's outcome, its events and the stream's state after them (None when there are none).

    `repeated`: the outcome is an older one, told again. `bug`: what a decider raised that it must not.
    """

    outcome: Outcome
    events: tuple[EventEnvelope, ...] = ()
    after: StreamState | None = None
    repeated: bool = False
    bug: Exception | None = None


def settle(taken: TakenCommand, shard: ShardView) -> Settled:
    """Decide one command against its shard. Never raises for anything a command or a decider can do."""
    command = taken.body
    if isinstance(command, Undecodable):
        return Settled(_unreadable(taken.position, command))
    if (known := shard.remembered(command.command_id)) is not None:
        return Settled(known, repeated=True)
    try:
        return _decided(command, taken.position.topic, shard)
    except Rejection as rejection:
        return Settled(_outcome(command, _refusal(rejection)))
    except Exception as bug:  # noqa: BLE001 - a decider's bug is this command's outcome, not the end of the shard
        message = f"an internal error; it is logged under correlation id {command.correlation_id}"
        return Settled(_outcome(command, Rejected("internal_error", message[:MAX_MESSAGE])), bug=bug)


def _decided(command: CommandEnvelope, lane: str, shard: ShardView) -> Settled:
    kind = admit(command, lane)
    before = shard.stream(command.stream)
    if command.expected_version is not None and command.expected_version != before.version:
        raise Stale("version_conflict", f"the stream is at version {before.version}, not {command.expected_version}")
    payload = from_json(kind.payload, command.payload)
    if getattr(payload, "name", None) not in (None, name_of(command.stream)):  # a command's `name` is always its aggregate's
        raise Rejection("wrong_stream", "the command says another name than its stream")
    decider = TABLE[kind.aggregate].decider
    decided = tuple(decider.decide(payload, before.state, _companion(decider, payload, command.stream, shard)))
    if not decided:
        return Settled(_outcome(command, Accepted(before.version)))
    events = recorded(command, decided, before.version, shard.head(topic_of(command.stream)))
    after = StreamState(before.version + len(events), decider.fold(before.state, decided))
    return Settled(_outcome(command, Accepted(after.version, tuple([e.event_id for e in events]))), events, after)


def _companion(decider: Decider[Any, Any, Any], payload: Any, stream: str, shard: ShardView) -> Companion | None:
    named = decider.companion(payload)
    if named is None:
        return None
    if named != partition_key(stream):
        raise Rejection("wrong_stream", f"{stream} does not live with {named}")
    return Companion(shard.stream(named).state, shard.unfinished(named))


def _refusal(rejection: Rejection) -> Rejected:
    return Rejected(rejection.code, rejection.message[:MAX_MESSAGE], rejection.errors)


def _outcome(command: CommandEnvelope, result: Accepted | Rejected) -> Outcome:
    """The command's outcome. What a hostile envelope made long is cut: an outcome must always fit a record."""
    return Outcome(
        command_id=command.command_id,
        stream=command.stream[:_MAX_NAME],
        type=command.type[:_MAX_NAME],
        actor=_cut(command.actor),
        fingerprint=command.fingerprint[:MAX_FINGERPRINT],
        correlation_id=command.correlation_id[:_MAX_NAME],
        time=command.time,
        result=result,
    )


def _cut(actor: Actor) -> Actor:
    return actor if len(actor.name) <= MAX_ACTOR and actor.kind in ACTOR_KINDS else _NOBODY


def _unreadable(position: Position, record: Undecodable) -> Outcome:
    return Outcome(
        command_id=derived_id(_UNREADABLE, str(position)),
        stream=record.key[:_MAX_NAME].decode("utf-8", "replace"),
        type="",
        actor=_NOBODY,
        fingerprint="",
        correlation_id="",
        time=_NO_TIME,
        result=Rejected("undecodable_command", f"the record at {position} is no command: {record.reason}"[:MAX_MESSAGE]),
    )

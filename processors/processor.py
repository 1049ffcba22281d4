"""What shape has a processor, and what do its commands look like?

Each has a pure core: `evolve` takes in what happened, in silence; `react` answers an input with actions (commands to send, work
to do) and `wake_at` says when to look again. Cores know no clock: every input comes with its time. Thin runtimes do the actions
and hand the results back; bindings feed them with events. Command ids are derived: doing a thing twice does it once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Protocol, TypeVar
from uuid import UUID

from schemas.actor import Actor, system
from schemas.command_envelope import CommandEnvelope
from schemas.event_envelope import EventEnvelope
from schemas.payload import to_json

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)


class Clock(Protocol):
    """Both kinds of time: for people and for measuring."""

    def now(self) -> datetime:
        """The time of day, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...


@dataclass(frozen=True, slots=True)
class Now:
    """The moment at which an input is handled: monotonic seconds and time of day."""

    monotonic: float
    wall: datetime


def now_by(clock: Clock) -> Now:
    """This moment."""
    return Now(clock.monotonic(), clock.now())


class Core(Protocol[In, Out]):
    """The pure part of a processor."""

    def react(self, given: In, now: Now) -> Sequence[Out]:
        """What is to be done about `given`."""
        ...

    def wake_at(self) -> float | None:
        """The monotonic second at which to be woken, if nothing happens before."""
        ...


@dataclass(frozen=True, slots=True)
class Cause:
    """What stands behind a command: whose correlation it belongs to, for whom it is done and which event caused it."""

    correlation_id: str
    on_behalf_of: Actor | None
    event_id: UUID | None


def caused_by(event: EventEnvelope) -> Cause:
    """The cause that `event` is."""
    person = event.actor if event.actor.kind != "system" else event.on_behalf_of
    return Cause(event.correlation_id, person, event.event_id)


def system_command(role: str, stream: str, command: object, command_id: UUID, cause: Cause, time: datetime) -> CommandEnvelope:
    """A processor's command in its envelope. Raises `Invalid` for text that cannot be stored."""
    kind, payload = type(command).__name__, to_json(command)
    return CommandEnvelope(
        command_id=command_id,
        type=kind,
        stream=stream,
        payload=payload,
        actor=system(role),
        correlation_id=cause.correlation_id,
        time=time,
        fingerprint=sha256(kind.encode() + b"\n" + payload).hexdigest(),
        on_behalf_of=cause.on_behalf_of,
        causation_id=cause.event_id,
    )

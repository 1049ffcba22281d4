"""What is a projection told? One record of the log, decoded once for all projections that read it."""

from datetime import datetime
from typing import Any

from schemas.event_envelope import EventEnvelope
from schemas.event_types import event_of
from schemas.log import Recorded, Undecodable
from schemas.position import Partition, Position
from schemas.run_output import OutputChunk


class Flawed(Exception):
    """The record is not what its topic must hold there: undecodable, or it does not follow from the one before it."""


class Fact:
    """A record with its position. `flaw` says why it must not be projected, once that is known.

    `envelope` and `event` raise `Flawed` for such a record, `event` also `UnknownEvent`: whoever reads them stops there.
    """

    __slots__ = ("_event", "body", "flaw", "partition", "position")

    def __init__(self, record: Recorded) -> None:
        self.position: Position = record.position
        self.partition: Partition = record.position.partition
        self.body = record.body
        self.flaw: str | None = None
        self._event: Any = None

    @property
    def envelope(self) -> EventEnvelope:
        """The event as it stands in the log."""
        if self.flaw is not None:
            raise Flawed(self.flaw)
        if isinstance(self.body, EventEnvelope):
            return self.body
        reason = self.body.reason if isinstance(self.body, Undecodable) else f"a {type(self.body).__name__}, not an event"
        raise Flawed(reason)

    @property
    def event(self) -> Any:
        """The domain event, brought up to the current schema version."""
        envelope = self.envelope
        if self._event is None:
            self._event = event_of(envelope)
        return self._event

    @property
    def time(self) -> datetime | None:
        """When it happened, if the record can be read."""
        return self.body.time if isinstance(self.body, EventEnvelope | OutputChunk) else None

    @property
    def stream(self) -> str | None:
        """The stream it belongs to: an event's own, or the run of a piece of output."""
        match self.body:
            case EventEnvelope(stream=stream):
                return stream
            case OutputChunk(run=run):
                return f"run/{run}"
        return None

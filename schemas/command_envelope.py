"""What is a command, on its way to its decider?"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from schemas.actor import Actor
from schemas.derived_id import derived_id
from schemas.quickly_made import quickly_made

_PEOPLE = UUID("7d1cbbf0-0c2b-5f5e-9d0c-2f0f7a6d9c01")
_SYSTEM = UUID("7d1cbbf0-0c2b-5f5e-9d0c-2f0f7a6d9c02")


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEnvelope:
    """A command and everything about it that its payload does not say.

    `payload` is the JSON object as bytes. `expected_version` is the stream's version the sender saw, or None for any.
    `causation_id` is the event that caused it, if one did. `time` is the sender's (UTC) and becomes the events' time.
    `fingerprint` tells a repeated command from another one under the same id; it is keyed where the payload is sealed.
    """

    command_id: UUID
    type: str
    stream: str
    payload: bytes
    actor: Actor
    correlation_id: str
    time: datetime
    fingerprint: str
    on_behalf_of: Actor | None = None
    expected_version: int | None = None
    causation_id: UUID | None = None
    traceparent: str | None = None


def people_command_id(actor: Actor, stream: str, key: str) -> UUID:
    """The id of a person's command: nobody else's key, and no processor, can give the same."""
    return derived_id(_PEOPLE, f"{actor.kind}:{actor.name}\n{stream}\n{key}")


def system_command_id(role: str, cause: str, ordinal: int | str) -> UUID:
    """The id of a processor's command: the role, the event or fact that caused it and which of its answers this is."""
    return derived_id(_SYSTEM, f"{role}\n{cause}\n{ordinal}")

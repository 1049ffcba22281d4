"""What became of a command?

An outcome is kept under the command's id. There is a third result beside accepted and rejected: *unknown*, when the log has
not said (yet). It is never an outcome; the log's errors in `schemas.log` stand for it.
"""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from domain.rejection import FieldError
from schemas.actor import Actor
from schemas.command_envelope import CommandEnvelope
from schemas.quickly_made import quickly_made


@quickly_made
@dataclass(frozen=True, slots=True)
class Accepted:
    """The stream's version after the command and the ids of the events it appended (none when all was so already)."""

    version: int
    event_ids: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why nothing was appended: a stable code, a message for people and the fields at fault."""

    code: str
    message: str
    errors: tuple[FieldError, ...] = ()


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of one command, with whose command it was and what it said (its fingerprint).

    `written` is its JSON since `schemas.wire` has written it: an owner needs it for the log and again for its snapshots.
    """

    command_id: UUID
    stream: str
    type: str
    actor: Actor
    fingerprint: str
    correlation_id: str
    time: datetime
    result: Accepted | Rejected
    written: bytes | None = field(default=None, init=False, compare=False, repr=False)


REUSED = Rejected("idempotency_key_reused", "this key was used before for a different command")


def result_for(command: CommandEnvelope, outcome: Outcome) -> Accepted | Rejected:
    """What the sender of `command` is told when `outcome` is remembered under its id.

    A repeated command gets the first one's result; another command under the same id gets `idempotency_key_reused`.
    """
    same = (outcome.fingerprint, outcome.actor, outcome.stream, outcome.type) == (
        command.fingerprint,
        command.actor,
        command.stream,
        command.type,
    )
    return outcome.result if same else REUSED

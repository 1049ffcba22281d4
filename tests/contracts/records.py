"""Commands, events and outcomes that mean nothing: the log does not look into them."""

from datetime import UTC, datetime
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

from schemas.actor import Actor, system
from schemas.command_envelope import CommandEnvelope
from schemas.event_envelope import EventEnvelope
from schemas.outcome import Accepted, Outcome
from schemas.run_output import OutputChunk

TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ALICE = Actor("user", "älice")
EXECUTOR = system("executor")


def command(number=0, *, stream=None, actor=ALICE, command_id=None):
    """A command for the stream `target/t<number>` unless another is given."""
    return CommandEnvelope(
        command_id=command_id or uuid4(),
        type="RegisterTarget",
        stream=stream or f"target/t{number}",
        payload=b'{"number": %d}' % number,
        actor=actor,
        correlation_id=f"c-{number}",
        time=TIME,
        fingerprint="f",
        expected_version=number,
    )


def event(cause, version=1, payload=b'{"host": "h"}'):
    """An event that `cause` led to."""
    return EventEnvelope(
        event_id=uuid5(NAMESPACE_OID, f"{cause.command_id}/{version}/{uuid4()}"),
        type="TargetRegistered",
        schema_version=1,
        stream=cause.stream,
        version=version,
        payload=payload,
        actor=cause.actor,
        time=TIME,
        command_id=cause.command_id,
        correlation_id=cause.correlation_id,
        previous_hash="0" * 64,
        hash="1" * 64,
    )


def outcome(cause, version=1):
    """That `cause` was accepted."""
    return Outcome(
        command_id=cause.command_id,
        stream=cause.stream,
        type=cause.type,
        actor=cause.actor,
        fingerprint=cause.fingerprint,
        correlation_id=cause.correlation_id,
        time=TIME,
        result=Accepted(version, (UUID(int=version),)),
    )


def chunk(sequence=1, run="job.1"):
    """A piece of run output."""
    return OutputChunk(
        run=run,
        target="t",
        step="s",
        step_index=0,
        attempt=1,
        stream="stdout",
        sequence=sequence,
        time=TIME,
        text=f"line {sequence}",
    )

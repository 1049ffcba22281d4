"""Which events are there, in which schema versions? One table; its names are stored for ever."""

from typing import Any

from domain import credential, target, user
from domain.job import decide as job
from domain.run import messages as run
from schemas.event_envelope import EventEnvelope
from schemas.payload import adapter
from schemas.upcasters import upcast

TABLE: dict[str, tuple[int, type[Any]]] = {
    kind.__name__: (1, kind)
    for kind in (
        user.UserCreated,
        user.RoleGranted,
        credential.CredentialCreated,
        credential.CredentialRotated,
        credential.CredentialRevoked,
        target.TargetRegistered,
        target.TargetRetitled,
        target.TargetRelabelled,
        target.TargetConnectionChanged,
        target.TargetHostKeyTrusted,
        target.TargetRetired,
        target.TargetCheckRequested,
        target.TargetChecked,
        target.TargetReachabilityChanged,
        job.JobDefined,
        job.JobRevised,
        job.JobArchived,
        run.RunRequested,
        run.RunClaimed,
        run.RunPlanned,
        run.RunStarted,
        run.StepStarted,
        run.StepFinished,
        run.RunCancelRequested,
        run.RunTimeExceeded,
        run.RunResumed,
        run.RunLost,
        run.LateReportReceived,
        run.RunFinished,
    )
}
"""Event name → (current schema version, class)."""


class UnknownEvent(Exception):
    """An event of a type or schema version that this version of the software does not know."""


def event_of(envelope: EventEnvelope) -> Any:
    """The domain event in `envelope`, brought up to the current schema version.

    Raises `UnknownEvent` for a type nobody knows or a schema version from the future: the reader must stop, never skip.
    """
    known = TABLE.get(envelope.type)
    if known is None or envelope.schema_version > known[0]:
        raise UnknownEvent(f"{envelope.type} in schema version {envelope.schema_version}")
    current, kind = known
    return adapter(kind).validate_json(upcast(envelope.type, envelope.schema_version, current, envelope.payload))

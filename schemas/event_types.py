"""Which events are there, in which schema versions? One table; its names are stored for ever."""

from typing import Any

from pydantic import ValidationError

from domain import credential, key, role, target
from domain.job import decide as job
from domain.run import messages as run
from domain.user import messages as user
from schemas.event_envelope import EventEnvelope
from schemas.payload import adapter, field_errors
from schemas.upcasters import upcast

_CHANGED: dict[type[Any], int] = {user.UserCreated: 2, user.CommandsDenied: 2}
"""Events that once had another shape, and their current schema version; `schemas.upcasters` knows the way."""

TABLE: dict[str, tuple[int, type[Any]]] = {
    kind.__name__: (_CHANGED.get(kind, 1), kind)
    for kind in (
        user.UserCreated,
        user.UserLinked,
        user.IdentityLinked,
        user.IdentityUnlinked,
        user.UserRetitled,
        user.TitleChanged,
        user.RoleGranted,
        user.RoleRevoked,
        user.UserDisabled,
        user.UserEnabled,
        user.PasswordChanged,
        user.SignedIn,
        user.SignInsFailed,
        user.SessionsEnded,
        user.TokenIssued,
        user.TokenRevoked,
        user.CommandsDenied,
        user.UserErased,
        role.RoleDefined,
        role.RoleChanged,
        role.RoleRemoved,
        key.SigningKeyAdded,
        key.SigningKeyRetired,
        key.MasterKeyChanged,
        key.SecretsWrapped,
        credential.CredentialCreated,
        credential.CredentialRotated,
        credential.CredentialRevoked,
        credential.CredentialShredded,
        target.TargetRegistered,
        target.TargetRetitled,
        target.TargetRelabelled,
        target.TargetConnectionChanged,
        target.TargetHostKeyTrusted,
        target.TargetHostKeyForgotten,
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
    """An event that this version of the software cannot read: type or schema version not known, or another shape."""


def event_of(envelope: EventEnvelope) -> Any:
    """The domain event in `envelope`, brought up to the current schema version.

    Raises `UnknownEvent` for a type nobody knows, a schema version from the future or a payload of another shape: the reader
    must stop, never skip. The message holds nothing of the payload.
    """
    current, kind = TABLE.get(envelope.type, (0, None))
    if not 1 <= envelope.schema_version <= current:
        raise UnknownEvent(f"{envelope.type} in schema version {envelope.schema_version}")
    try:
        return adapter(kind).validate_json(upcast(envelope.type, envelope.schema_version, current, envelope.payload))
    except ValueError as error:
        named = field_errors(error, kind) if isinstance(error, ValidationError) else ()
        faults = "; ".join(f"{fault.field}: {fault.message}" for fault in named) or "no JSON"
        raise UnknownEvent(f"{envelope.type} in schema version {envelope.schema_version}: {faults}") from None

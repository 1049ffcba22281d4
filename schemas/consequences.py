"""What can come of a command: which events, which rejections? One table, for readers and for the reference.

The rules in `domain` decide; this says in advance what they may. Every example and every state machine in the tests of the
domain checks what it sees against it.
"""

from dataclasses import dataclass
from typing import Any

from domain import credential, key, role, target
from domain.job import decide as job
from domain.run import messages as run
from domain.user import messages as user


@dataclass(frozen=True, slots=True)
class Consequences:
    """The events a command may cause and the codes it may be rejected with; those of `FOR_ALL` come on top."""

    events: tuple[type[Any], ...]
    rejections: tuple[str, ...]


_INVALID = "validation_failed"
_NO_CREDENTIAL = ("credential_not_found", "credential_revoked")
_NO_TARGET = ("target_not_found", "target_retired")
_NO_USER = ("user_not_found", "user_erased")
_NO_ROLE = ("role_not_found", "role_removed")
_NO_JOB = ("job_not_found", "job_archived")
_NO_RUN = ("run_not_found", "run_finished")
_NOT_HELD = (*_NO_RUN, "stale_epoch")

TABLE: dict[type[Any], Consequences] = {
    user.CreateFirstAdministrator: Consequences((user.UserCreated, user.RoleGranted), ("user_exists", _INVALID)),
    user.CreateUser: Consequences((user.UserCreated, user.TitleChanged, user.RoleGranted), ("user_exists", _INVALID)),
    user.ChangeUser: Consequences(
        (user.TitleChanged, user.RoleGranted, user.RoleRevoked, user.UserDisabled, user.UserEnabled),
        (*_NO_USER, "user_linked", "last_administrator", _INVALID),
    ),
    user.ChangePassword: Consequences((user.PasswordChanged,), (*_NO_USER, "user_linked", "user_disabled", "password_changed")),
    user.RecordSignIn: Consequences((user.SignedIn, user.SessionsEnded), (*_NO_USER, "user_disabled", "password_changed")),
    user.SignInWithProvider: Consequences(
        (
            user.UserCreated,
            user.IdentityLinked,
            user.TitleChanged,
            user.RoleGranted,
            user.RoleRevoked,
            user.SignedIn,
            user.SessionsEnded,
        ),
        ("identity_linked", "user_not_linked", "user_erased", "user_disabled", _INVALID),
    ),
    user.UnlinkIdentity: Consequences((user.IdentityUnlinked,), (*_NO_USER, "identity_not_found")),
    user.RecordSignInFailures: Consequences((user.SignInsFailed,), ("user_not_found",)),
    user.EndSessions: Consequences((user.SessionsEnded,), ("user_not_found", "session_not_found")),
    user.IssueToken: Consequences((user.TokenIssued,), (*_NO_USER, "user_disabled", "token_exists", "too_many_tokens", _INVALID)),
    user.RevokeToken: Consequences((user.TokenRevoked,), (*_NO_USER, "token_not_found")),
    user.RecordDeniedCommands: Consequences((user.CommandsDenied,), ("user_not_found",)),
    user.EraseUser: Consequences((user.UserErased,), ("user_not_found", "last_administrator")),
    role.DefineRole: Consequences((role.RoleDefined,), ("role_exists", "too_many_roles", _INVALID)),
    role.ChangeRole: Consequences((role.RoleChanged,), (*_NO_ROLE, _INVALID)),
    role.RemoveRole: Consequences((role.RoleRemoved,), _NO_ROLE),
    key.AddSigningKey: Consequences((key.SigningKeyAdded,), ()),
    key.RetireSigningKey: Consequences((key.SigningKeyRetired,), ("only_signing_key",)),
    key.RecordMasterKey: Consequences((key.MasterKeyChanged,), ()),
    key.RecordSecretsWrapped: Consequences((key.SecretsWrapped,), ()),
    credential.CreateCredential: Consequences((credential.CredentialCreated,), ("credential_exists", _INVALID)),
    credential.RotateCredential: Consequences(
        (credential.CredentialRotated,), (*_NO_CREDENTIAL, "credential_kind_differs", "credential_rotated_meanwhile")
    ),
    credential.RevokeCredential: Consequences((credential.CredentialRevoked,), _NO_CREDENTIAL),
    credential.ShredCredential: Consequences((credential.CredentialShredded,), ("credential_not_found",)),
    target.RegisterTarget: Consequences((target.TargetRegistered,), ("target_exists", _INVALID)),
    target.ChangeTarget: Consequences(
        (
            target.TargetRetitled,
            target.TargetRelabelled,
            target.TargetConnectionChanged,
            target.TargetHostKeyTrusted,
            target.TargetHostKeyForgotten,
        ),
        (*_NO_TARGET, _INVALID),
    ),
    target.RetireTarget: Consequences((target.TargetRetired,), _NO_TARGET),
    target.RequestTargetCheck: Consequences((target.TargetCheckRequested,), (*_NO_TARGET, "too_many_checks")),
    target.RecordTargetCheck: Consequences((target.TargetChecked, target.TargetReachabilityChanged), ("target_not_found",)),
    job.DefineJob: Consequences((job.JobDefined,), ("job_exists", _INVALID)),
    job.ReviseJob: Consequences((job.JobRevised,), (*_NO_JOB, _INVALID)),
    job.ArchiveJob: Consequences((job.JobArchived,), _NO_JOB),
    run.RequestRun: Consequences(
        (run.RunRequested,),
        ("run_exists", *_NO_JOB, "job_revised_meanwhile", "job_is_running", "too_many_runs_waiting", _INVALID),
    ),
    run.CancelRun: Consequences((run.RunCancelRequested, run.RunFinished), (*_NO_RUN, _INVALID)),
    run.SupersedeRun: Consequences((run.RunCancelRequested, run.RunFinished), (*_NO_RUN, _INVALID)),
    run.ClaimRun: Consequences((run.RunClaimed,), (*_NOT_HELD, "run_claimed")),
    run.PlanRun: Consequences(
        (run.RunPlanned, run.RunFinished), (*_NOT_HELD, "run_planned", "plan_out_of_order", "plan_repeats_target")
    ),
    run.FailRun: Consequences((run.RunFinished,), (*_NOT_HELD, "run_planned")),
    run.ReportRun: Consequences(
        (run.RunStarted, run.StepStarted, run.StepFinished, run.RunTimeExceeded, run.RunFinished),
        (*_NOT_HELD, "run_not_planned", "run_is_ending", "step_not_startable", "step_not_running"),
    ),
    run.ExpireClaim: Consequences((run.StepFinished, run.RunResumed, run.RunLost, run.RunFinished), _NOT_HELD),
    run.RecordLateReport: Consequences((run.LateReportReceived,), ("run_not_found", "report_not_late", "stale_epoch")),
}

FORMER: tuple[type[Any], ...] = (user.UserLinked, user.UserRetitled)
"""Events that logs from before hold and that nothing causes any more."""

FOR_ALL: dict[str, str] = {
    "malformed_command": "the envelope holds what an event's header cannot",
    "unknown_command": "there is no command of this type",
    "wrong_stream": "the command is for streams of another type",
    "malformed_stream": "no stream can have this name",
    "lane_refused": "the actor may not speak on this lane, or the command may not come by it",
    "version_conflict": "the stream is at another version than the expected one",
    "validation_failed": "the payload is not what the command's type says, or a number in it cannot be kept exactly",
    "unstorable_text": "a text holds U+0000 or a lone surrogate",
    "event_too_large": "an event would exceed what a topic takes",
    "too_many_events": "one command would cause more events than one outcome can name",
    "idempotency_key_reused": "the command id was used before for a different command",
    "internal_error": "a fault of ours; it is logged under the correlation id",
}
"""Rejections that any command may get from the owner, before or after its decider, and why."""

"""Which commands are there, whose streams are they for, and who may send them? One table."""

from dataclasses import dataclass
from typing import Any, Literal

from domain import credential, key, role, target
from domain.identity import CREDENTIAL, JOB, KEY, ROLE, RUN, TARGET, USER
from domain.job import decide as job
from domain.run import messages as run
from domain.user import messages as user

Lane = Literal["people", "system"]


@dataclass(frozen=True, slots=True)
class CommandType:
    """One command: its payload's class, the type of the streams it is for and the lane it may come by."""

    payload: type[Any]
    aggregate: str
    lane: Lane


TABLE: dict[str, CommandType] = {
    kind.payload.__name__: kind
    for kind in (
        CommandType(user.CreateFirstAdministrator, USER, "system"),
        CommandType(user.CreateUser, USER, "people"),
        CommandType(user.ChangeUser, USER, "people"),
        CommandType(user.ChangePassword, USER, "people"),
        CommandType(user.RecordSignIn, USER, "people"),
        CommandType(user.SignInWithProvider, USER, "people"),
        CommandType(user.UnlinkIdentity, USER, "people"),
        CommandType(user.RecordSignInFailures, USER, "people"),
        CommandType(user.EndSessions, USER, "people"),
        CommandType(user.IssueToken, USER, "people"),
        CommandType(user.RevokeToken, USER, "people"),
        CommandType(user.RecordDeniedCommands, USER, "people"),
        CommandType(user.EraseUser, USER, "people"),
        CommandType(role.DefineRole, ROLE, "people"),
        CommandType(role.ChangeRole, ROLE, "people"),
        CommandType(role.RemoveRole, ROLE, "people"),
        CommandType(key.AddSigningKey, KEY, "people"),
        CommandType(key.RetireSigningKey, KEY, "people"),
        CommandType(key.RecordMasterKey, KEY, "system"),
        CommandType(key.RecordSecretsWrapped, KEY, "system"),
        CommandType(credential.CreateCredential, CREDENTIAL, "people"),
        CommandType(credential.RotateCredential, CREDENTIAL, "people"),
        CommandType(credential.RevokeCredential, CREDENTIAL, "people"),
        CommandType(credential.ShredCredential, CREDENTIAL, "people"),
        CommandType(target.RegisterTarget, TARGET, "people"),
        CommandType(target.ChangeTarget, TARGET, "people"),
        CommandType(target.RetireTarget, TARGET, "people"),
        CommandType(target.RequestTargetCheck, TARGET, "people"),
        CommandType(target.RecordTargetCheck, TARGET, "system"),
        CommandType(job.DefineJob, JOB, "people"),
        CommandType(job.ReviseJob, JOB, "people"),
        CommandType(job.ArchiveJob, JOB, "people"),
        CommandType(run.RequestRun, RUN, "people"),
        CommandType(run.CancelRun, RUN, "people"),
        CommandType(run.ClaimRun, RUN, "system"),
        CommandType(run.PlanRun, RUN, "system"),
        CommandType(run.FailRun, RUN, "system"),
        CommandType(run.ReportRun, RUN, "system"),
        CommandType(run.ExpireClaim, RUN, "system"),
        CommandType(run.SupersedeRun, RUN, "system"),
        CommandType(run.RecordLateReport, RUN, "system"),
    )
}

LANE_TOPIC: dict[Lane, str] = {"people": "commands.people", "system": "commands.system"}

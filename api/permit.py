"""May the caller do this to that? One decision, in `domain.access`; here it becomes an answer.

What the caller may not even see is told as absent; what the caller may see and not do is told as denied, with what each of the
caller's roles lacks and, where one field of the request is to blame, which.
"""

from api.call import Call
from api.problem_details import Problem
from api.routes.names import absent
from domain.access import CredentialObject, Decision, JobObject, Object, RunObject, TargetObject
from domain.rejection import FieldError


class Denied(Problem):
    """What was asked for takes `permission`, which the caller does not have, or not here. Where what it was asked of may not even
    be seen, `code` says that it is absent. `thing` is what it was asked of, where that is known.
    """

    def __init__(
        self,
        permission: str,
        detail: str,
        field: str | None = None,
        code: str = "permission_denied",
        thing: Object | None = None,
    ) -> None:
        super().__init__(code, detail, (FieldError(field, detail),) if field else ())
        self.permission, self.thing = permission, thing


def can(call: Call, permission: str, thing: Object) -> bool:
    """Whether the caller may do it to this."""
    return call.signed_in.decide(permission, thing).allowed


def require(call: Call, permission: str, thing: Object, field: str | None = None) -> None:
    """Raise `Denied`, naming `field` if it is to blame, unless the caller may do it to this."""
    found = call.signed_in.decide(permission, thing)
    if not found.allowed:
        raise Denied(permission, why_not(permission, thing, found), field, thing=thing)


def require_seen(call: Call, permission: str, kind: str, thing: Object, field: str | None = None) -> None:
    """The same; but what the caller may not even read is absent. Raises `Problem`."""
    if not can(call, permission, thing) and not can(call, f"{kind}s.read", thing):
        raise Denied(permission, "", code=absent(kind).code, thing=thing)
    require(call, permission, thing, field)


def why_not(permission: str, thing: Object | None, found: Decision) -> str:
    """Why it is denied, in words."""
    on = f" on {name_of(thing)}" if thing is not None else ""
    lacks = "; ".join(f"{role} {lack}" for role, lack in found.lacks) or "there is no role"
    return f"this takes {permission}{on}: {lacks}"[:_LONGEST]


_LONGEST = 1_000


def name_of(thing: Object) -> str:
    """What the thing is called."""
    match thing:
        case TargetObject(name):
            return f"target {name}"
        case JobObject(name):
            return f"job {name}"
        case CredentialObject(name):
            return f"credential {name}"
        case RunObject(job):
            return f"a run of job {job}"

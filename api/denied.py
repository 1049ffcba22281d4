"""What was a denied write about? Only what could be a name is told: never text that a client made up, nor anything of a body that
was not checked.
"""

from api.call import Call
from api.permit import Denied
from api.problem_details import Problem
from api.routes.route import Route
from domain.access import CredentialObject, JobObject, TargetObject
from domain.identity import CREDENTIAL, JOB, KEYS, ROLE, RUN, TARGET, USER, is_run_id, is_slug, stream_of

KINDS = {"targets": TARGET, "jobs": JOB, "runs": RUN, "credentials": CREDENTIAL, "users": USER, "roles": ROLE}
"""What the first part of a path, after the version, is about."""
OTHERS = {"signing-keys": KEYS, "projections": "projection", "audit": "log"}
"""The same where no one thing is named. What is left is about the own account."""


def object_of(route: Route, call: Call, refused: Problem) -> str:
    """Stream or kind of what the path names; where it names nothing, what the body was found to; and a credential that a target
    was to be given in any case.
    """
    match refused.thing if isinstance(refused, Denied) else None:
        case CredentialObject(name):
            return _named(CREDENTIAL, name)
        case TargetObject(name) if not call.request.path_params:
            return _named(TARGET, name)
        case JobObject(name) if not call.request.path_params:
            return _named(JOB, name)
    return _in_path(route, call)


def _in_path(route: Route, call: Call) -> str:
    folder = folder_of(route)
    if folder not in KINDS:
        return OTHERS.get(folder) or stream_of(USER, call.signed_in.user)
    return _named(KINDS[folder], str(call.request.path_params.get("run" if folder == "runs" else "name", "")))


def folder_of(route: Route) -> str:
    """The first part of a route's path after the version."""
    return route.path.removeprefix("/api/v1/").partition("/")[0]


def _named(kind: str, name: str) -> str:
    return stream_of(kind, name) if (is_run_id if kind == RUN else is_slug)(name) else kind

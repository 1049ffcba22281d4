"""Which thing does the path name? What cannot be a name is simply not there."""

from api.call import Call
from api.problem_details import Problem
from domain.identity import is_run_id, is_slug


def slug(call: Call, kind: str) -> str:
    """The name in the path. Raises `Problem` (404) for what can be no name."""
    name = call.path("name")
    if not is_slug(name):
        raise absent(kind)
    return name


def run_of(call: Call) -> str:
    """The run id in the path. Raises `Problem` (404) for what can be none."""
    run = call.path("run")
    if not is_run_id(run):
        raise absent("run")
    return run


def absent(kind: str) -> Problem:
    """There is no such thing of this kind."""
    return Problem(f"{kind}_not_found")

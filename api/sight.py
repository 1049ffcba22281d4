"""Is this there for the caller? What a limited role does not reach is not told from what does not exist."""

from collections.abc import Callable, Iterable

from sqlalchemy import Connection, String, bindparam, select

from api.call import Call, Caller
from api.permit import can
from api.queries import targets
from api.queries.seen import run_seen, run_seen_whole
from api.references import found
from api.routes.names import absent
from domain.access import CredentialObject, JobObject, Object
from domain.identity import CREDENTIAL, JOB, RUN, TARGET, kind_of, name_of

_RUN = bindparam("run", type_=String())
"""A run that is given with the question, so that the condition on it is made once."""


async def must_see(call: Call, kind: str, name: str) -> None:
    """Raise `Problem` (404) unless the caller may read the thing. What is hidden is looked for as long as what is absent."""
    permission = f"{kind}s.read"
    if call.signed_in.is_unlimited(permission):
        return
    if kind == RUN:
        if await found(call, RUN, lambda connection: sees_run(connection, call.signed_in, name) or None, "runs", "run_steps"):
            return
        raise absent(RUN)
    if kind == TARGET:

        def seen(connection: Connection) -> Object | None:
            thing = targets.as_object(connection, name)
            return thing if thing is not None and can(call, permission, thing) else None

        if await found(call, TARGET, seen) is None:
            raise absent(TARGET)
    elif not can(call, permission, _named(kind, name)):
        raise absent(kind)


def sees_run(connection: Connection, caller: Caller, run: str, permission: str = "runs.read") -> bool:
    """Whether the caller has the permission on a part of the run."""
    if caller.is_unlimited(permission):
        return True
    return bool(connection.execute(select(run_seen(caller, permission, _RUN)), {"run": run}).scalar())


async def must_see_history(call: Call, kind: str, name: str) -> None:
    """The same for all that ever happened to it: a run's events name its targets, so all of these must be seen."""
    await must_see(call, kind, name)
    if kind == RUN and not call.signed_in.is_unlimited("runs.read"):
        whole = run_seen_whole(call.signed_in, "runs.read", _RUN)

        def asked(connection: Connection) -> bool:
            return bool(connection.execute(select(whole), {"run": name}).scalar())

        if not await call.models.ask(asked):
            raise absent(RUN)


def hidden(caller: Caller, streams: Iterable[str]) -> Callable[[Connection], bool]:
    """Whether the caller may neither read nor change one of these: then it is waited for as if it did not exist."""
    limited = [stream for stream in streams if not _reaches_all(caller, kind_of(stream))]

    def asked(connection: Connection) -> bool:
        return any(not _reaches(connection, caller, stream) for stream in limited)

    return asked


def _reaches_all(caller: Caller, kind: str) -> bool:
    return kind not in (TARGET, JOB, RUN, CREDENTIAL) or any(caller.is_unlimited(each) for each in _permissions(caller, kind))


def _reaches(connection: Connection, caller: Caller, stream: str) -> bool:
    kind, name = kind_of(stream), name_of(stream)
    if kind == RUN:
        return any(sees_run(connection, caller, name, permission) for permission in _permissions(caller, RUN))
    thing = _named(kind, name) if kind != TARGET else targets.as_object(connection, name)
    return thing is not None and any(caller.decide(each, thing).allowed for each in _permissions(caller, kind))


def _named(kind: str, name: str) -> Object:
    if kind == CREDENTIAL:
        return CredentialObject(name)
    return JobObject(name)


def _permissions(caller: Caller, kind: str) -> list[str]:
    return [permission for permission in caller.permissions if permission.startswith(f"{kind}s.")]

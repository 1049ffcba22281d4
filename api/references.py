"""Is what a request speaks of really absent? Not before the read model has seen all that the log held when it came."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, select

from api.call import Call
from api.problem_details import wrong
from domain.credential import SSH_KINDS
from domain.identity import CREDENTIAL
from projections.tables import credentials

T = TypeVar("T")


async def found(call: Call, kind: str, question: Callable[[Connection], T | None], *reads: str) -> T | None:
    """The answer to `question`; without one it is asked again once the read models it `reads`, or the main one of `kind`, have
    reached the log's end. Raises `Problem`.
    """
    first = await call.models.ask(question)
    if first is not None:
        return first
    await call.services.freshness.log_end([kind], reads)
    return await call.models.ask(question)


async def check_credential(call: Call, name: str) -> None:
    """Raise `Problem` (422, `connection.credential`) unless there is such a credential, it is not revoked and logs in by SSH."""

    wanted = select(credentials.c.revoked, credentials.c.kind).where(credentials.c.name == name)
    answer = await found(call, CREDENTIAL, lambda connection: connection.execute(wanted).one_or_none())
    if answer is None:
        raise wrong("connection.credential", "there is no such credential")
    if answer.revoked:
        raise wrong("connection.credential", "the credential is revoked")
    if answer.kind not in SSH_KINDS:
        raise wrong("connection.credential", f"is of kind {answer.kind}; SSH takes {' or '.join(SSH_KINDS)}")

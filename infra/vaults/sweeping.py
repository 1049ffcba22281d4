"""Which secrets does nothing need any more, and when may they go?

Over, by the log: a rotated or revoked credential's, a replaced password's hash or title, a revoked API token's, an unlinked
user's. They go a minute after the event, for whoever looked up the secret's id just before, and not while a read model still
names them. A shredded credential's and an erased user's go at once.

Named by no event: sealed for a command that was rejected while we crashed, or that is not decided yet. A command can wait in its
lane for as long as the lane keeps it; only after that, and when the events' index has seen the whole log, such a secret goes. A
command that is sent again seals again, and from then on it is counted anew.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, insert, select

from infra.vaults.references import ENDING, references
from infra.vaults.tables import secrets, unnamed
from infra.vaults.traces import zeroing
from projections.tables import credentials, events, stored_time, users
from schemas.topics import BY_NAME, COMMANDS_PEOPLE

LOOKED_UP_WITHIN = timedelta(minutes=1)
UNNAMED_FOR = timedelta(milliseconds=BY_NAME[COMMANDS_PEOPLE].retention_ms) + timedelta(days=1)
OUR_OWN = "api-"
"""What the ids of the API's own keys begin with; no event names them."""

_AT_ONCE = 200


def over(connection: Connection, now: datetime) -> tuple[list[str], list[str]]:
    """The secrets in the table that the log says are over: those of shredded credentials and erased users, and the others."""
    shredded, ended = over_in_log(connection, now)
    return _kept(connection, shredded), _kept(connection, ended)


def over_in_log(connection: Connection, now: datetime) -> tuple[list[str], list[str]]:
    """The same, whether a vault still holds them or not."""
    found = references(connection, runs=False)
    at_latest, in_use = stored_time(now - LOOKED_UP_WITHIN), _in_use(connection)
    shredded = [ident for ident, each in found.items() if each.shredded]
    ended = [
        ident
        for ident, each in found.items()
        if each.over_since is not None and not each.shredded and each.over_since < at_latest and ident not in in_use
    ]
    return shredded, ended


def ended_since(connection: Connection, then: datetime) -> bool:
    """Whether the log tells of a secret's end at or after `then`."""
    told = select(events.c.event_id).where(events.c.type.in_(ENDING), events.c.time >= stored_time(then)).limit(1)
    return connection.execute(told).first() is not None


def _in_use(connection: Connection) -> set[str]:
    """What the read models would have opened now."""
    named = connection.execute(select(credentials.c.secret).where(credentials.c.revoked.is_(False))).scalars()
    held = connection.execute(select(users.c.password, users.c.sealed_title))
    return {*named, *(each for row in held for each in row if each)}


def _kept(connection: Connection, idents: Collection[str]) -> list[str]:
    """Those of them that are still in the vault."""
    kept: list[str] = []
    listed = list(idents)
    for begin in range(0, len(listed), _AT_ONCE):
        some = select(secrets.c.secret_id).where(secrets.c.secret_id.in_(listed[begin : begin + _AT_ONCE]))
        kept += connection.execute(some).scalars()
    return kept


def destroy(writer: Engine, idents: Collection[str]) -> None:
    """Delete these secrets."""
    listed = list(idents)
    for begin in range(0, len(listed), _AT_ONCE):
        with writer.begin() as connection, zeroing(connection):
            connection.execute(delete(secrets).where(secrets.c.secret_id.in_(listed[begin : begin + _AT_ONCE])))


def sweep_unnamed(writer: Engine, now: datetime) -> list[str]:
    """Note which secrets no event names, and destroy those whose note is old enough and still there; which these are.

    To be called when the index is complete. Raises `SQLAlchemyError`.
    """
    with writer.begin() as connection, zeroing(connection):
        named = references(connection, runs=True)
        held = connection.execute(select(secrets.c.secret_id)).scalars()
        without = {ident for ident in held if ident not in named and not ident.startswith(OUR_OWN)}
        noted = {row.secret_id: row.since for row in connection.execute(select(unnamed))}
        for gone in sorted(noted.keys() - without):  # in one order, whoever else sweeps or wraps rows anew
            connection.execute(delete(unnamed).where(unnamed.c.secret_id == gone))
        fresh = [{"secret_id": ident, "since": stored_time(now)} for ident in sorted(without - noted.keys())]
        if fresh:
            connection.execute(insert(unnamed), fresh)
        at_latest = stored_time(now - UNNAMED_FOR)
        due = [ident for ident, since in noted.items() if ident in without and since < at_latest]
        return [ident for ident in sorted(due) if _destroyed(connection, ident, at_latest)]


def _destroyed(connection: Connection, ident: str, at_latest: str) -> bool:
    """Destroy a secret unless it has been sealed again since it was looked at: then its note is gone, or a new one."""
    old = delete(unnamed).where(unnamed.c.secret_id == ident, unnamed.c.since < at_latest)
    if not connection.execute(old).rowcount:
        return False
    connection.execute(delete(secrets).where(secrets.c.secret_id == ident))
    return True

"""Who may sign in, and in which roles?"""

from collections.abc import Iterable
from typing import Any

from domain.identity import USER, kind_of, name_of
from domain.user.messages import (
    CommandsDenied,
    IdentityLinked,
    IdentityUnlinked,
    PasswordChanged,
    RoleGranted,
    RoleRevoked,
    SessionsEnded,
    SignedIn,
    SignInsFailed,
    TitleChanged,
    TokenIssued,
    TokenRevoked,
    UserCreated,
    UserDisabled,
    UserEnabled,
    UserErased,
    UserLinked,
    UserRetitled,
)
from projections.bulk import Key, Row
from projections.fact import Fact
from projections.own_rows import OwnRows
from projections.projection import Projection, RowPerStream
from projections.tables import stored_time, users

_NOTHING_OF_A_PERSON: Row = {"title": "", "sealed_title": None, "password": None, "linked": None}


def _own(fact: Fact) -> Iterable[Key]:
    return [(name_of(fact.envelope.stream),)] if kind_of(fact.envelope.stream) == USER else []


def _fold(own: OwnRows, fact: Fact) -> None:
    if kind_of(fact.envelope.stream) != USER:
        return  # a role, told of in the same topic
    name, time = name_of(fact.envelope.stream), stored_time(fact.envelope.time)
    row = own.get(name) or {
        "created_at": time,
        "roles": [],
        "disabled": False,
        "sessions": [],
        "tokens": [],
        "linked": None,
        "sealed_title": None,
        "erased": False,
        "last_sign_in_at": None,
    }
    changed = _changed(row, fact.event, time)
    kept = {"name": name, "updated_at": time, "version": fact.envelope.version, "offset": fact.position.offset}
    own.put({**row, **changed, **kept})


def _changed(row: Row, event: Any, time: str) -> Row:  # noqa: C901 - one flat case an event
    """What `event` makes of the row's own columns."""
    match event:
        case UserCreated(_, password, title):
            return {"password": password, "title": title}
        case UserLinked(issuer, subject):
            return {"linked": {"issuer": issuer, "subject": subject}}
        case IdentityLinked(identity, secret):
            return {"linked": {"identity": identity, "secret": secret}}
        case IdentityUnlinked():
            return {"linked": None, "roles": [], "sessions": [], "tokens": []}
        case UserRetitled(title):
            return {"title": title, "sealed_title": None}
        case TitleChanged(secret):
            return {"title": "", "sealed_title": secret}
        case RoleGranted(role):
            return {"roles": [*row["roles"], role]}
        case RoleRevoked(role):
            return {"roles": [held for held in row["roles"] if held != role]}
        case UserDisabled():
            return {"disabled": True, "sessions": []}
        case UserEnabled():
            return {"disabled": False}
        case PasswordChanged(password, _, keeps):
            return {"password": password, "sessions": [held for held in row["sessions"] if held == keeps]}
        case SignedIn(session):
            return {"sessions": [*row["sessions"], session], "last_sign_in_at": time}
        case SessionsEnded(sessions):
            return {"sessions": [held for held in row["sessions"] if held not in sessions]}
        case TokenIssued(token, title, secret, permissions, expires_at):
            listed = list(permissions) if permissions is not None else None
            issued = {"token": token, "title": title, "secret": secret, "permissions": listed}
            return {"tokens": [*row["tokens"], {**issued, "issued_at": time, "expires_at": stored_time(expires_at)}]}
        case TokenRevoked(token):
            return {"tokens": [held for held in row["tokens"] if held["token"] != token]}
        case UserErased():
            return {**_NOTHING_OF_A_PERSON, "disabled": True, "erased": True, "roles": [], "sessions": [], "tokens": []}
        case SignInsFailed() | CommandsDenied():
            return {}
        case _:
            raise TypeError(f"{type(event).__name__} is no event of a user")


USERS = Projection("users", ("users",), (RowPerStream(users, _own, _fold),), revision=5)

"""Which users are there, and in which roles? Never their passwords; who they are is opened in the vault (`api.personal_data`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, select

from api.as_of import Then
from api.paging import Order, Page
from domain.identity import USER
from projections.tables import users

_SHOWN = ("sealed_title", "roles", "disabled", "erased", "last_sign_in_at", "created_at", "updated_at", "version")
_TOKEN_SHOWN = ("token", "title", "permissions", "issued_at", "expires_at")

ORDERS: dict[str, Order] = {"name": Order((users.c.name,)), "-name": Order((users.c.name,), descending=True)}


def then(time: str) -> Then:
    """The users there were then."""
    return Then(USER, "name", select(users.c.name).where(users.c.created_at <= time), lambda row: True)


def listed(connection: Connection, page: Page) -> tuple[Sequence[Mapping[Any, Any]], str | None]:
    """The rows of one page of users."""
    return page.rows(connection, select(users))


def name_of_identity(connection: Connection, identity: str) -> str | None:
    """What the identity provider's user is called here of whom this is the keyed digest; of two names from before, the first."""
    return _first_name(connection, users.c.linked["identity"].as_string() == identity)


def name_of_linked(connection: Connection, issuer: str, subject: str) -> str | None:
    """The same of one whom an event from before names in clear, and who has not signed in since."""
    is_it = (users.c.linked["issuer"].as_string() == issuer) & (users.c.linked["subject"].as_string() == subject)
    return _first_name(connection, is_it)


def _first_name(connection: Connection, is_it: ColumnElement[bool]) -> str | None:
    found = select(users.c.name).where(is_it).order_by(users.c.created_at, users.c.name).limit(1)
    return connection.execute(found).scalar_one_or_none()


def tokens_of(connection: Connection, name: str) -> list[dict[str, Any]] | None:
    """A user's API tokens; None for nobody."""
    row = connection.execute(select(users.c.tokens).where(users.c.name == name)).one_or_none()
    return None if row is None else [{key: issued[key] for key in _TOKEN_SHOWN} for issued in row.tokens]


def shown(row: Mapping[Any, Any], opened: Mapping[str, str]) -> dict[str, Any]:
    """A user as an administrator sees it; what lies in the vault and is not among what was `opened` is null."""
    sealed = row["sealed_title"]
    title = row["title"] if sealed is None else opened.get(sealed)
    service = row["password"] is None and row["linked"] is None and not row["erased"]
    said = {"name": row["name"], "title": title, "linked": _linked(row["linked"], opened)}
    return {**said, **{name: row[name] for name in _SHOWN}, "service": service}


def _linked(linked: Mapping[str, Any] | None, opened: Mapping[str, str]) -> Mapping[str, Any] | None:
    if linked is None or "identity" not in linked:
        return linked
    clear = opened.get(linked["secret"])
    return orjson.loads(clear) if clear is not None else {"issuer": None, "subject": None}

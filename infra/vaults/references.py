"""Which secrets do events name, what are they for, and which of them does nothing need any more? Read from the events' index."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
from sqlalchemy import Connection, Engine, select

from domain.identity import name_of
from projections.tables import events
from schemas.vault import (
    SIGNING_KEY,
    SIGNING_KEY_BOUND_TO,
    bound_to_credential,
    bound_to_identity,
    bound_to_run,
    bound_to_title,
    bound_to_token,
    bound_to_user,
)

ENDING = (
    "CredentialRotated",
    "CredentialRevoked",
    "CredentialShredded",
    "PasswordChanged",
    "TitleChanged",
    "TokenRevoked",
    "IdentityUnlinked",
    "UserErased",
)
"""The events after which a secret opens nothing any more."""

_TYPES = ("CredentialCreated", "UserCreated", "IdentityLinked", "TokenIssued", *ENDING)


@dataclass(slots=True)
class Reference:
    """What a secret is for; `over_since`: the time of the event after which it opens nothing any more."""

    bound_to: str
    over_since: str | None = None
    shredded: bool = False


@dataclass(slots=True)
class _Stream:
    """What one stream has said so far: all its secrets, and those in use by what they are (`secret`, `password`, `title`,
    `identity`, or the id of an API token).
    """

    all: list[Reference] = field(default_factory=list)
    in_use: dict[str, Reference] = field(default_factory=dict)


class References:
    """Every secret that an event names, by its id."""

    def __init__(self) -> None:
        self.by_id: dict[str, Reference] = {}
        self._streams: dict[str, _Stream] = {}

    def take(self, stream: str, kind: str, time: str, payload: Mapping[str, object]) -> None:  # noqa: C901 - one flat match
        """The next event of a stream."""
        known, name = self._streams.setdefault(stream, _Stream()), name_of(stream)
        match kind, payload:
            case "CredentialCreated" | "CredentialRotated", {"secret": str(ident), "revision": int(revision)}:
                self._replaces(known, "secret", time, ident, bound_to_credential(name, revision))
            case "CredentialRevoked", _:
                self._ends(known, "secret", time)
            case "CredentialShredded" | "UserErased", _:
                for what in list(known.in_use):
                    self._ends(known, what, time)
                for each in known.all:
                    each.shredded = True
            case "UserCreated" | "PasswordChanged", {"password": str(ident)}:
                self._replaces(known, "password", time, ident, bound_to_user(name))
            case "IdentityLinked", {"secret": str(ident)}:
                self._replaces(known, "identity", time, ident, bound_to_identity(name))
            case "IdentityUnlinked", _:
                for what in known.in_use.keys() - {"title", "password"}:
                    self._ends(known, what, time)
            case "TitleChanged", {"secret": str(ident)}:
                self._replaces(known, "title", time, ident, bound_to_title(name))
            case "TitleChanged", _:
                self._ends(known, "title", time)
            case "TokenIssued", {"token": str(token), "secret": str(ident)}:
                self._replaces(known, token, time, ident, bound_to_token(name, token))
            case "TokenRevoked", {"token": str(token)}:
                self._ends(known, token, time)
            case "RunRequested", {"parameters": dict(parameters)}:
                for parameter, value in parameters.items():
                    if isinstance(value, dict) and isinstance(value.get("sealed"), str):
                        self.by_id[value["sealed"]] = Reference(bound_to_run(name, parameter))

    def _replaces(self, known: _Stream, what: str, time: str, ident: str, bound_to: str) -> None:
        self._ends(known, what, time)
        used = known.in_use[what] = self.by_id.setdefault(ident, Reference(bound_to))
        used.over_since = None
        known.all.append(used)

    @staticmethod
    def _ends(known: _Stream, what: str, time: str) -> None:
        if what in known.in_use:
            known.in_use.pop(what).over_since = time


def references(connection: Connection, *, runs: bool) -> dict[str, Reference]:
    """Every secret that an event names, as far as the index has come; those of runs' parameters if `runs`."""
    found = References()
    found.by_id[SIGNING_KEY] = Reference(SIGNING_KEY_BOUND_TO)
    types = (*_TYPES, "RunRequested") if runs else _TYPES
    asked = select(events.c.stream, events.c.type, events.c.time, events.c.payload).where(events.c.type.in_(types))
    for row in connection.execute(asked.order_by(events.c.stream, events.c.version)):
        found.take(row.stream, row.type, row.time, orjson.loads(row.payload))
    return found.by_id


def purposes(reader: Engine) -> dict[str, str]:
    """What each secret that an event names is for."""
    with reader.connect() as connection:
        return {ident: reference.bound_to for ident, reference in references(connection, runs=True).items()}

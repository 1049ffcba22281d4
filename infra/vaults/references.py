"""Which secrets do events name, what are they for, and which of them does nothing need any more? Read from the events' index."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection, Engine, select

from domain.identity import name_of
from projections.tables import events
from schemas.vault import (
    SIGNING_KEY,
    SIGNING_KEY_BOUND_TO,
    bound_to_credential,
    bound_to_run,
    bound_to_token,
    bound_to_user,
)

_TYPES = (
    "CredentialCreated",
    "CredentialRotated",
    "CredentialRevoked",
    "UserCreated",
    "PasswordChanged",
    "TokenIssued",
    "TokenRevoked",
    "RunRequested",
)


@dataclass(slots=True)
class Reference:
    """What a secret is for; `over`: the log says that it opens nothing any more."""

    bound_to: str
    over: bool = False


@dataclass(slots=True)
class _Stream:
    """What one stream has said so far: the secret in use (a credential's, a password's), and those of API tokens."""

    in_use: Reference | None = None
    tokens: dict[str, Reference] | None = None


class References:
    """Every secret that an event names, by its id."""

    def __init__(self) -> None:
        self.by_id: dict[str, Reference] = {}
        self._streams: dict[str, _Stream] = {}

    def take(self, stream: str, kind: str, payload: Mapping[str, object]) -> None:
        """The next event of a stream."""
        known, name = self._streams.setdefault(stream, _Stream()), name_of(stream)
        match kind, payload:
            case "CredentialCreated" | "CredentialRotated", {"secret": str(ident), "revision": int(revision)}:
                self._replaces(known, ident, bound_to_credential(name, revision))
            case "CredentialRevoked", _:
                self._replaces(known, None, "")
            case "UserCreated" | "PasswordChanged", {"password": str(ident)}:
                self._replaces(known, ident, bound_to_user(name))
            case "TokenIssued", {"token": str(token), "secret": str(ident)}:
                known.tokens = known.tokens or {}
                self.by_id[ident] = known.tokens[token] = Reference(bound_to_token(name, token))
            case "TokenRevoked", {"token": str(token)} if known.tokens and token in known.tokens:
                known.tokens.pop(token).over = True
            case "RunRequested", {"parameters": dict(parameters)}:
                for parameter, value in parameters.items():
                    if isinstance(value, dict) and isinstance(value.get("sealed"), str):
                        self.by_id[value["sealed"]] = Reference(bound_to_run(name, parameter))

    def _replaces(self, known: _Stream, ident: str | None, bound_to: str) -> None:
        if known.in_use is not None:
            known.in_use.over = True
        known.in_use = None if ident is None else self.by_id.setdefault(ident, Reference(bound_to))


def references(connection: Connection) -> dict[str, Reference]:
    """Every secret that an event names, as far as the index has come."""
    found = References()
    found.by_id[SIGNING_KEY] = Reference(SIGNING_KEY_BOUND_TO)
    asked = select(events.c.stream, events.c.type, events.c.payload).where(events.c.type.in_(_TYPES))
    for row in connection.execute(asked.order_by(events.c.stream, events.c.version)):
        found.take(row.stream, row.type, orjson.loads(row.payload))
    return found.by_id


def purposes(reader: Engine) -> dict[str, str]:
    """What each secret that an event names is for."""
    with reader.connect() as connection:
        return {ident: reference.bound_to for ident, reference in references(connection).items()}

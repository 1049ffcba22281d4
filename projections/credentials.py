"""Which credentials are there, and under which id does the vault hold their secret? Never the secret itself."""

from collections.abc import Iterable

from domain.credential import CredentialCreated, CredentialRevoked, CredentialRotated, CredentialShredded
from domain.identity import name_of
from projections.bulk import Key
from projections.fact import Fact
from projections.own_rows import OwnRows
from projections.projection import Projection, RowPerStream
from projections.tables import credentials, stored_time


def _own(fact: Fact) -> Iterable[Key]:
    return [(name_of(fact.envelope.stream),)]


def _fold(own: OwnRows, fact: Fact) -> None:
    name, time = name_of(fact.envelope.stream), stored_time(fact.envelope.time)
    row = own.get(name) or {"created_at": time, "revoked": False}
    match fact.event:
        case CredentialCreated(_, title, kind, secret, revision):
            row = {**row, "title": title, "kind": kind, "secret": secret, "revision": revision}
        case CredentialRotated(secret, revision):
            row = {**row, "secret": secret, "revision": revision}
        case CredentialRevoked():
            row = {**row, "revoked": True}
        case CredentialShredded():
            row = {**row, "revoked": True, "revision": 0}
        case _:
            raise TypeError(f"{fact.envelope.type} is no event of a credential")
    own.put({**row, "name": name, "updated_at": time, "version": fact.envelope.version, "offset": fact.position.offset})


CREDENTIALS = Projection("credentials", ("credentials",), (RowPerStream(credentials, _own, _fold),), revision=1)

"""Who may sign in, and in which roles?"""

from collections.abc import Iterable

from domain.identity import name_of
from domain.user import RoleGranted, UserCreated
from projections.bulk import Key
from projections.fact import Fact
from projections.own_rows import OwnRows
from projections.projection import Projection, RowPerStream
from projections.tables import stored_time, users


def _own(fact: Fact) -> Iterable[Key]:
    return [(name_of(fact.envelope.stream),)]


def _fold(own: OwnRows, fact: Fact) -> None:
    name, time = name_of(fact.envelope.stream), stored_time(fact.envelope.time)
    row = own.get(name) or {"created_at": time, "roles": []}
    match fact.event:
        case UserCreated(_, password):
            row = {**row, "password": password}
        case RoleGranted(role):
            row = {**row, "roles": [*row["roles"], role]}
        case _:
            raise TypeError(f"{fact.envelope.type} is no event of a user")
    own.put({**row, "name": name, "updated_at": time, "version": fact.envelope.version, "offset": fact.position.offset})


USERS = Projection("users", ("users",), (RowPerStream(users, _own, _fold),), revision=1)

"""Which custom roles are there, and what do they grant?"""

from collections.abc import Iterable

from domain.access import Limits
from domain.identity import ROLE, kind_of, name_of
from domain.role import RoleChanged, RoleDefined, RoleRemoved
from projections.bulk import Key, Row
from projections.fact import Fact
from projections.own_rows import OwnRows
from projections.plain import plain
from projections.projection import Projection, RowPerStream
from projections.tables import roles, stored_time


def _own(fact: Fact) -> Iterable[Key]:
    return [(name_of(fact.envelope.stream),)] if kind_of(fact.envelope.stream) == ROLE else []


def _fold(own: OwnRows, fact: Fact) -> None:
    if kind_of(fact.envelope.stream) != ROLE:
        return  # a user, told of in the same topic
    name, time = name_of(fact.envelope.stream), stored_time(fact.envelope.time)
    row: Row = own.get(name) or {"created_at": time, "removed": False}
    match fact.event:
        case RoleDefined() | RoleChanged() as said:
            granted = {"permissions": list(said.permissions), "limits": plain(Limits, said.limits)}
            row = {**row, "title": said.title, **granted}
        case RoleRemoved():
            row = {**row, "removed": True}
        case _:
            raise TypeError(f"{fact.envelope.type} is no event of a role")
    own.put({**row, "name": name, "updated_at": time, "version": fact.envelope.version, "offset": fact.position.offset})


ROLES = Projection("roles", ("users",), (RowPerStream(roles, _own, _fold),), revision=1)

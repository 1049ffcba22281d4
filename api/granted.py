"""What do roles grant now? The built-in ones by the table in the code, the custom ones in force by their read model."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, false, select

from domain.access import ROLES, Grant, Limits, grants_of
from projections.tables import roles

_IN_FORCE = select(roles.c.name, roles.c.permissions, roles.c.limits).where(
    roles.c.name.in_(bindparam("names", expanding=True)), roles.c.removed == false()
)
"""Asked with every request of somebody who has a custom role, and made once."""


def granted_in(connection: Connection, held: Sequence[str]) -> tuple[Grant, ...]:
    """What somebody who holds these roles is granted."""
    custom = [role for role in held if role not in ROLES]
    found = connection.execute(_IN_FORCE, {"names": custom}) if custom else ()
    return grants_of(held, {row.name: Grant(row.name, frozenset(row.permissions), Limits(**row.limits)) for row in found})

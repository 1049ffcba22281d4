"""What do roles grant now? The built-in ones by the table in the code, the custom ones in force by their read model."""

from collections.abc import Sequence
from functools import lru_cache

import orjson
from sqlalchemy import Connection, Select, Text, bindparam, cast, false, select

from domain.access import ROLES, Grant, Limits, grants_of
from domain.user.decide import MAX_ROLES
from projections.tables import roles


def granted_in(connection: Connection, held: Sequence[str]) -> tuple[Grant, ...]:
    """What somebody who holds these roles is granted."""
    custom = [role for role in held if role not in ROLES]
    asked = {f"r{n}": role for n, role in enumerate(custom)}
    found = connection.execute(_in_force(len(custom)), asked).all() if custom else ()
    return grants_of(held, {row.name: _grant(*row) for row in found})


@lru_cache(maxsize=MAX_ROLES)
def _in_force(count: int) -> Select[tuple[str, str, str]]:
    """Asks for so many roles, with every request of somebody who holds them; JSON comes as the text that is stored.

    It is made once a number: a list of names that may be of any length is written anew whenever it is asked with.
    """
    named = roles.c.name.in_([bindparam(f"r{n}", type_=roles.c.name.type) for n in range(count)])
    said = cast(roles.c.permissions, Text), cast(roles.c.limits, Text)
    return select(roles.c.name, *said).where(named, roles.c.removed == false())


@lru_cache(maxsize=4_096)
def _grant(name: str, permissions: str, limits: str) -> Grant:
    """What the role's row says, read once: it is found again by all that was read, so that a role that was changed is another."""
    return Grant(name, frozenset(orjson.loads(permissions)), Limits(**orjson.loads(limits)))

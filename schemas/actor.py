"""Who did it?"""

from dataclasses import dataclass
from typing import Literal

ActorKind = Literal["user", "token", "system"]

PEOPLE_KINDS: frozenset[str] = frozenset({"user", "token"})
"""Actors that only the API may speak for; the kinds allowed on the lane of people."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a user, an API token or, with a name such as `system:executor`, one of our own roles."""

    kind: ActorKind
    name: str


def system(role: str) -> Actor:
    """The actor of one of our own roles: `system("executor")` is named `system:executor`."""
    return Actor("system", f"system:{role}")

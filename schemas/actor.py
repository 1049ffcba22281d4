"""Who did it?"""

from dataclasses import dataclass
from typing import Literal

ActorKind = Literal["user", "token", "anonymous", "system"]

PEOPLE_KINDS: frozenset[str] = frozenset({"user", "token", "anonymous"})
"""Actors that only the API may speak for; the kinds allowed on the lane of people."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a user, a user's API token (`<user>/<token id>`), somebody who has not signed in or, with a name such as
    `system:executor`, one of our own roles.
    """

    kind: ActorKind
    name: str


ANONYMOUS = Actor("anonymous", "anonymous")
"""Somebody who has not signed in."""


def system(role: str) -> Actor:
    """The actor of one of our own roles: `system("executor")` is named `system:executor`."""
    return Actor("system", f"system:{role}")

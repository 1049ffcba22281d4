"""Who is signed in, and may a session still be refreshed?

That a session began and ended is in the log, and with it in the read model of users that every request looks at. What lives here
is the refresh token's hash, and the news of a session's end before the read model has it. The store may lose everything at any
time (DESIGN §6): then refreshing fails and people sign in again, while access tokens go on until they expire.

A refresh token (`api.refresh_tokens`) is replaced by every use. One that was replaced may come again within a short grace (an
answer got lost on the way, several asked at once) and is replaced by the same one; after that it is taken for stolen and ends its
session.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

REFRESH_S = 7 * 86_400
"""How long a session lasts without being refreshed."""

GRACE_S = 10
"""How long a replaced refresh token is still taken."""


class SessionsUnavailable(Exception):
    """The store could not be asked; the same call may be made again."""


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in. `secret_hash` is that of the refresh token that is good now."""

    session_id: str
    user: str
    secret_hash: str


Refreshed = Literal["refreshed", "absent", "reused"]


class SessionStore(Protocol):
    """Keeps sessions. Every call raises `SessionsUnavailable` when the store cannot be asked."""

    async def begin(self, session: Session) -> bool:
        """Keep a new session for `REFRESH_S` seconds; False, and nothing changes, when it has begun already or is revoked."""
        ...

    async def user_of(self, session_id: str) -> str | None:
        """Whose session it is; None when there is none (any more)."""
        ...

    async def refresh(self, session_id: str, secret_hash: str, next_hash: str) -> Refreshed:
        """Replace the secret, at once and only once: `refreshed` when it was the one that is good now. Asked within `GRACE_S` for
        the same replacement again, nothing changes and that is `refreshed`, too. Else `reused`, and the session is revoked.
        """
        ...

    async def unused_s(self, session_ids: Sequence[str]) -> Mapping[str, float]:
        """How many seconds ago each of these sessions began or was last refreshed, of those that there are (still)."""
        ...

    async def revoke(self, session_id: str) -> None:
        """End a session; remembered for as long as an access token may live."""
        ...

    async def is_revoked(self, session_id: str) -> bool:
        """Whether the session is known to have been revoked."""
        ...


def hash_of(secret: str) -> str:
    """How a refresh token's secret is kept; it is random and long, so a plain hash will do."""
    return hashlib.sha256(secret.encode()).hexdigest()

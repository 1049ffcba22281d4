"""Keeps sessions in memory: for the embedded server, which forgets them when it stops, and for tests."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from api.sessions import GRACE_S, REFRESH_S, Refreshed, Session
from api.tokens import ACCESS_S, LEEWAY_S

_SWEEP_EVERY_S = 60.0


@dataclass(slots=True)
class _Kept:
    session: Session
    before: str
    replaced_at: float
    until: float


class MemorySessions:
    """Sessions in a dictionary; what is over is swept away as others come."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._kept: dict[str, _Kept] = {}
        self._revoked: dict[str, float] = {}
        self._swept_at = seconds()

    async def begin(self, session: Session) -> bool:
        """Keep a new session, once."""
        self._sweep()
        if self._live(session.session_id) or await self.is_revoked(session.session_id):
            return False
        self._kept[session.session_id] = _Kept(session, "", 0.0, self._seconds() + REFRESH_S)
        return True

    async def user_of(self, session_id: str) -> str | None:
        """Whose session it is."""
        kept = self._live(session_id)
        return kept.session.user if kept else None

    async def refresh(self, session_id: str, secret_hash: str, next_hash: str) -> Refreshed:
        """Replace the secret; one that is neither the present one nor was just now replaced by `next_hash` ends the session."""
        kept, now = self._live(session_id), self._seconds()
        if kept is None:
            return "absent"
        if (secret_hash, next_hash) == (kept.before, kept.session.secret_hash) and now - kept.replaced_at <= GRACE_S:
            return "refreshed"
        if secret_hash != kept.session.secret_hash:
            await self.revoke(session_id)
            return "reused"
        renewed = Session(session_id, kept.session.user, next_hash)
        self._kept[session_id] = _Kept(renewed, kept.session.secret_hash, now, now + REFRESH_S)
        return "refreshed"

    async def unused_s(self, session_ids: Sequence[str]) -> Mapping[str, float]:
        """How many seconds ago each session began or was last refreshed."""
        live = {each: kept for each in session_ids if (kept := self._live(each))}
        return {each: REFRESH_S - (kept.until - self._seconds()) for each, kept in live.items()}

    async def revoke(self, session_id: str) -> None:
        """End a session."""
        self._sweep()
        self._kept.pop(session_id, None)
        self._revoked[session_id] = self._seconds() + ACCESS_S + LEEWAY_S

    async def is_revoked(self, session_id: str) -> bool:
        """Whether the session was revoked, as long as an access token of it may live."""
        return self._revoked.get(session_id, 0.0) > self._seconds()

    def _live(self, session_id: str) -> _Kept | None:
        kept = self._kept.get(session_id)
        return kept if kept and kept.until > self._seconds() else None

    def _sweep(self) -> None:
        now = self._seconds()
        if now - self._swept_at > _SWEEP_EVERY_S:
            self._swept_at = now
            self._kept = {key: kept for key, kept in self._kept.items() if kept.until > now}
            self._revoked = {key: until for key, until in self._revoked.items() if until > now}

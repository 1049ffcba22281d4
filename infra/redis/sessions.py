"""Keeps sessions in Redis. With Redis down sign-in works without a refresh token, refreshing answers 503, access tokens go on;
after FLUSHALL refreshing answers 401 and people sign in again.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, cast

from redis.asyncio import Redis

from api.sessions import GRACE_S, REFRESH_S, Refreshed, Session, SessionsUnavailable
from api.tokens import ACCESS_S, LEEWAY_S
from infra.redis.connection import Failed

# A script, so that of two who begin one session at once only one does.
_BEGIN = """
if redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then return 0 end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'user', ARGV[2], 'secret', ARGV[3], 'before', '', 'replaced', '0')
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""

# One script, so that of two refreshes at once only one is first. Times are Redis's own, in milliseconds.
_REFRESH = """
local kept = redis.call('HMGET', KEYS[1], 'id', 'secret', 'before', 'replaced')
if not kept[2] or kept[1] ~= ARGV[1] then return 'absent' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if kept[2] ~= ARGV[2] then
  if kept[3] ~= ARGV[2] or kept[2] ~= ARGV[3] or now - tonumber(kept[4]) > tonumber(ARGV[4]) then return 'reused' end
  return 'refreshed'
end
redis.call('HSET', KEYS[1], 'secret', ARGV[3], 'before', kept[2], 'replaced', string.format('%.0f', now))
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 'refreshed'
"""


class RedisSessions:
    """Sessions as hashes that expire by themselves; each carries its own id, which is checked when it is read."""

    def __init__(self, redis: Redis, prefix: str = "ops") -> None:
        self._redis, self._prefix = redis, prefix

    async def begin(self, session: Session) -> bool:
        """Keep a new session, once."""
        ident = session.session_id
        arguments = [ident, session.user, session.secret_hash, str(REFRESH_S)]
        return bool(await _answer(self._redis.eval(_BEGIN, 2, self._key(ident), self._revoked_key(ident), *arguments)))

    async def user_of(self, session_id: str) -> str | None:
        """Whose session it is."""
        ident, user = await _answer(self._redis.hmget(self._key(session_id), ["id", "user"]))
        return cast("str | None", user) if ident == session_id else None

    async def refresh(self, session_id: str, secret_hash: str, next_hash: str) -> Refreshed:
        """Replace the secret; one that is neither the present one nor was just now replaced by `next_hash` ends the session."""
        arguments = [session_id, secret_hash, next_hash, str(GRACE_S * 1000), str(REFRESH_S)]
        said = await _answer(self._redis.eval(_REFRESH, 1, self._key(session_id), *arguments))
        if said == "reused":
            await self.revoke(session_id)
        return cast("Refreshed", said)

    async def unused_s(self, session_ids: Sequence[str]) -> Mapping[str, float]:
        """How many seconds ago each session began or was last refreshed: either makes it expire `REFRESH_S` later."""
        pipe = self._redis.pipeline(transaction=True)
        for each in session_ids:
            pipe.hget(self._key(each), "id")
            pipe.pttl(self._key(each))
        said = await _answer(pipe.execute())
        asked = zip(session_ids, said[::2], said[1::2], strict=True)
        return {each: REFRESH_S - left_ms / 1000 for each, ident, left_ms in asked if ident == each}

    async def revoke(self, session_id: str) -> None:
        """End a session."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.set(self._revoked_key(session_id), session_id, ex=ACCESS_S + LEEWAY_S)
        pipe.delete(self._key(session_id))
        await _answer(pipe.execute())

    async def is_revoked(self, session_id: str) -> bool:
        """Whether the session was revoked, as long as an access token of it may live."""
        return bool(await _answer(self._redis.get(self._revoked_key(session_id))) == session_id)

    def _key(self, session_id: str) -> str:
        return f"{self._prefix}:session:{session_id}"

    def _revoked_key(self, session_id: str) -> str:
        return f"{self._prefix}:revoked:{session_id}"


async def _answer(asked: Awaitable[Any] | Any) -> Any:
    try:
        return await asked
    except Failed as error:
        raise SessionsUnavailable(type(error).__name__) from None

"""Counts failed sign-ins in Redis, for all API processes together."""

import uuid
from collections.abc import Awaitable, Mapping
from typing import Any, cast

from redis.asyncio import Redis

from api.sign_in_limit import UNDER_WAY_S, WINDOW_S, CannotCount
from infra.redis.connection import Failed

# One script, so that of two attempts at once one is there before the other looks. Keys come in pairs: how many failed, and which
# are under way by when they began. Times are Redis's own, in milliseconds.
_BEGIN = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, #KEYS, 2 do
  redis.call('ZREMRANGEBYSCORE', KEYS[i + 1], '-inf', now - ARGV[2])
  local failures = tonumber(redis.call('GET', KEYS[i]) or '0')
  if failures + redis.call('ZCARD', KEYS[i + 1]) >= tonumber(ARGV[2 + (i + 1) / 2]) then return 0 end
end
for i = 2, #KEYS, 2 do
  redis.call('ZADD', KEYS[i], now, ARGV[1])
  redis.call('PEXPIRE', KEYS[i], ARGV[2])
end
return 1
"""


class RedisAttempts:
    """A counter a key that expires; how old the last failure is follows from the time it has left."""

    def __init__(self, redis: Redis, prefix: str = "ops") -> None:
        self._redis, self._prefix = redis, prefix

    async def failures(self, key: str) -> tuple[int, float]:
        """How many there were, and how many seconds ago the last one was."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.get(self._failed(key))
        pipe.pttl(self._failed(key))
        count, left_ms = await _answer(pipe.execute())
        return (int(count), WINDOW_S - left_ms / 1000) if count else (0, 0.0)

    async def begin(self, most: Mapping[str, int]) -> str | None:
        """Put an attempt under way, unless there are too many."""
        name = uuid.uuid4().hex
        keys = [each for key in most for each in (self._failed(key), self._under_way(key))]
        bounds = [str(bound) for bound in most.values()]
        begun = await _answer(self._redis.eval(_BEGIN, len(keys), *keys, name, str(UNDER_WAY_S * 1000), *bounds))
        return name if begun else None

    async def end(self, attempt: str, failed: Mapping[str, bool]) -> None:
        """An attempt is over."""
        pipe = self._redis.pipeline(transaction=True)
        for key, is_failure in failed.items():
            pipe.zrem(self._under_way(key), attempt)
            if is_failure:
                pipe.incr(self._failed(key))
                pipe.expire(self._failed(key), WINDOW_S)
        await _answer(pipe.execute())

    async def forget(self, key: str) -> None:
        """Somebody signed in."""
        await _answer(self._redis.delete(self._failed(key)))

    def _failed(self, key: str) -> str:
        return f"{self._prefix}:sign-in:{key}"

    def _under_way(self, key: str) -> str:
        return f"{self._prefix}:signing-in:{key}"


async def _answer(asked: Any) -> Any:
    try:
        return await cast("Awaitable[Any]", asked)
    except Failed as error:
        raise CannotCount(type(error).__name__) from error

"""Counts failed sign-ins in Redis, for all API processes together. With Redis down nothing is counted."""

import logging

from redis.asyncio import Redis

from api.sign_in_limit import WINDOW_S
from infra.redis.connection import Failed

log = logging.getLogger(__name__)


class RedisAttempts:
    """A counter a key that expires; how old the last failure is follows from the time it has left."""

    def __init__(self, redis: Redis, prefix: str = "ops") -> None:
        self._redis, self._prefix = redis, prefix

    async def failed(self, key: str) -> int:
        """Count one failure."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.incr(self._key(key))
        pipe.expire(self._key(key), WINDOW_S)
        try:
            count, _ = await pipe.execute()
        except Failed as error:
            log.warning("failed sign-in not counted: %s", type(error).__name__)
            return 0
        return int(count)

    async def failures(self, key: str) -> tuple[int, float]:
        """How many there were, and how many seconds ago the last one was."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.get(self._key(key))
        pipe.pttl(self._key(key))
        try:
            count, left_ms = await pipe.execute()
        except Failed as error:
            log.warning("failed sign-ins not known: %s", type(error).__name__)
            return 0, 0.0
        return (int(count), WINDOW_S - left_ms / 1000) if count else (0, 0.0)

    async def forget(self, key: str) -> None:
        """Somebody signed in."""
        try:
            await self._redis.delete(self._key(key))
        except Failed as error:
            log.warning("failed sign-ins not forgotten: %s", type(error).__name__)

    def _key(self, key: str) -> str:
        return f"{self._prefix}:sign-in:{key}"

"""Tells other API processes how many requests were let through, and hears it from them, by counters in Redis.

Once a second, beside the requests: none waits for it. With Redis down each process counts for itself.
"""

import asyncio
import itertools
import logging

from redis.asyncio import Redis

from api.rate_limit import Key, SharedBuckets
from infra.redis.connection import Failed

log = logging.getLogger(__name__)

_EVERY_S = 1.0
_KEPT_S = 120
_AT_ONCE = 500


class RedisLimits:
    """Keeps the buckets of this process in step with those of the others while `run` runs."""

    def __init__(self, redis: Redis, buckets: SharedBuckets, prefix: str = "ops") -> None:
        self._redis, self._buckets, self._prefix = redis, buckets, prefix

    async def run(self) -> None:
        """Exchange once a second, until cancelled."""
        is_well = True
        while True:
            try:
                await self.exchange()
            except Failed as error:
                if is_well:
                    log.warning("rate limits count for this process alone: %s", type(error).__name__)
                is_well = False
            else:
                is_well = True
            await asyncio.sleep(_EVERY_S)

    async def exchange(self) -> None:
        """Tell and hear once. Raises what Redis raises; what was to be told is lost then."""
        told = iter(self._buckets.untold().items())
        while some := list(itertools.islice(told, _AT_ONCE)):
            pipe = self._redis.pipeline(transaction=False)
            for key, count in some:
                pipe.incrby(self._name(key), count)
                pipe.expire(self._name(key), _KEPT_S)
            answers = await pipe.execute()
            for (key, _), total in zip(some, answers[::2], strict=True):
                self._buckets.heard(key, int(total))

    def _name(self, key: Key) -> str:
        return f"{self._prefix}:rate:{key[0]}:{key[1]}"

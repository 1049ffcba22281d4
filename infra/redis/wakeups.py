"""Carries hints between processes by Redis's publish and subscribe, which may drop any of them: it only wakes (HAZARDS R52)."""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager

from redis.asyncio import Redis

from infra.memory.wakeups import MemoryWaiter, MemoryWakeups
from infra.redis.connection import Failed

log = logging.getLogger(__name__)

_POLL_S = 0.5
_PAUSE_S = 1.0
_TOPICS_AT_ONCE = 500


class RedisWakeups:
    """One subscription a process, kept up by `run`; without it, or with Redis down, waiters wake by their own time-outs."""

    def __init__(self, redis: Redis, prefix: str = "ops") -> None:
        self._redis, self._channel = redis, f"{prefix}:wakeups"
        self._here = MemoryWakeups()
        self._are_heard = True

    async def wake(self, topics: Iterable[str]) -> None:
        """Hint to every process. Never raises."""
        listed = list(topics)
        try:
            for begin in range(0, len(listed), _TOPICS_AT_ONCE):
                await self._redis.publish(self._channel, "\n".join(listed[begin : begin + _TOPICS_AT_ONCE]))
        except Failed as error:
            log.debug("hint lost: %s", type(error).__name__)

    def listen(self, topic: str) -> AbstractAsyncContextManager[MemoryWaiter]:
        """Hear hints for one topic."""
        return self._here.listen(topic)

    async def run(self) -> None:
        """Hear other processes' hints until cancelled; after a loss of Redis subscribe again and wake everyone."""
        while True:
            try:
                await self._hear()
            except Failed as error:
                if self._are_heard:  # said when it begins and when it is over: Redis may be away for a night
                    log.warning("hints are not heard: %s", type(error).__name__)
                self._are_heard = False
            await asyncio.sleep(_PAUSE_S)

    async def _hear(self) -> None:
        async with self._redis.pubsub() as heard:
            await heard.subscribe(self._channel)
            while True:
                message = await heard.get_message(timeout=_POLL_S)
                if message is None:
                    continue
                if message["type"] == "subscribe":  # the answer: what was sent down a dead connection is none
                    self._begin()
                else:
                    await self._here.wake(str(message["data"]).split("\n"))

    def _begin(self) -> None:
        """From here on hints come; of those before, nobody knows."""
        if not self._are_heard:
            log.warning("hints are heard again")
        self._are_heard = True
        self._here.wake_all()

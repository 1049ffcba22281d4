"""A client that writes on whatever becomes of the brokers, and knows what was acknowledged."""

import asyncio
import time

from schemas.log import LogUnavailable, ResultUnknown
from tests.support.builders import register_target
from tests.support.eventually import eventually_async


class Writing:
    """A client that registers one target after the other, each until it hears what became of it."""

    def __init__(self, log):
        self._log = log
        self._stop = False
        self.told, self.refused, self.longest_pause_s = [], 0, 0.0
        self._task = asyncio.create_task(self._write())

    async def _write(self):
        told_at = time.monotonic()
        while not self._stop:
            command = register_target(f"t-{len(self.told)}")
            while not await self._said(command):
                self.refused += 1
            self.longest_pause_s = max(self.longest_pause_s, time.monotonic() - told_at)
            told_at = time.monotonic()
            self.told.append(command.command_id)

    async def _said(self, command):
        try:
            await self._log.sender.send(command)
            return await self._log.outcomes.wait(command.command_id, 5)
        except (LogUnavailable, ResultUnknown):
            await asyncio.sleep(0.1)

    async def goes_on(self, within_s):
        enough = len(self.told) + 5

        async def further():
            return len(self.told) >= enough

        await eventually_async(further, within=within_s)

    async def end(self):
        self._stop = True
        await self._task

    async def is_refused(self, times):
        return self.refused >= times

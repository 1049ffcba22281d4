"""How does the sweeper listen and judge? One loop takes every heartbeat there is, another looks at the claims.

It reads the topic from what is left of it on: an old `leaving` still counts, an old sign of life counts as one of now. That
nothing came proves nothing by itself, since a feed stays silent while the brokers are away: only once the log has said where the
heartbeats end, and all before that was read, is a silence one. Read models that answer slowly hold up no listening, and a
partition that does not take our writes holds up none to others.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from domain.identity import RUN, stream_of
from processors.delivery import Sleep
from processors.executor.inventory import Inventory, InventoryUnavailable, UnfinishedRun
from processors.getting_on import TROUBLE_AFTER_S, GettingOn
from processors.processor import Clock, now_by
from processors.sweeper.core import ROLE, Claim, LeaseWatch, expiry
from schemas.actor import system
from schemas.heartbeat import Heartbeat
from schemas.log import CommandSender, EventReader, Feed, LogError, LogTruncated, RecordSender
from schemas.position import Partition
from schemas.topics import EXECUTORS

_LOG = logging.getLogger(__name__)

BATCH = 1_000
LOOK_EVERY_S = 1.0
SEND_AGAIN_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SweeperPorts:
    """Everything outside."""

    sender: CommandSender
    records: RecordSender
    reader: EventReader
    inventory: Inventory
    clock: Clock
    sleep: Sleep


class SweeperRuntime:
    """One sweeper; `lease_s` must be the executors' lease. `run` works until cancelled."""

    def __init__(self, lease_s: float, ports: SweeperPorts) -> None:
        self._ports = ports
        self._watch = LeaseWatch(lease_s, ports.reader.shards, ports.clock.monotonic())
        self._look_every_s = min(LOOK_EVERY_S, lease_s / 4)
        self._runs: Sequence[UnfinishedRun] = ()
        self._writing: dict[int, asyncio.Task[None]] = {}
        self._refusals: dict[int, str] = {}
        self._ordered: dict[Claim, float] = {}
        monotonic, half_s = ports.clock.monotonic, lease_s / 2
        unheard = f"the heartbeats have not been heard within half a lease ({half_s:g} s)"
        self._listening = GettingOn(unheard, "the log", monotonic, half_s)  # every silence begins anew after more
        self._judging = GettingOn("no claims have been judged in time", "the read models", monotonic)

    @property
    def trouble(self) -> str | None:
        """Why it judges nobody, or not all: it could not hear for too long, not look through the read models, or not show that
        who is silent could speak; or None."""
        return self._listening.trouble or self._judging.trouble or self._spared()

    def _spared(self) -> str | None:
        for shard, silence_s in self._watch.spared(self._runs, TROUBLE_AFTER_S).items():
            why = self._refusals.get(shard, "writes take too long")
            place = f"{EXECUTORS}/{shard}"
            return f"who has been silent for {silence_s:.0f} s keeps its runs, since {place} takes no heartbeats: {why}"
        return None

    async def run(self) -> None:
        """Listen and judge, again and again."""
        service = [asyncio.create_task(each) for each in (self._listens(), self._judges())]
        try:
            await asyncio.wait(service, return_when=asyncio.FIRST_COMPLETED)
            for task in service:
                if task.done():
                    task.result()
        finally:
            every = [*service, *self._writing.values()]
            for task in every:
                task.cancel()
            await asyncio.gather(*every, return_exceptions=True)

    # --- listening --------------------------------------------------------------------------------------------------

    async def _listens(self) -> None:
        partitions = [Partition(EXECUTORS, shard) for shard in range(self._ports.reader.shards)]
        start = dict.fromkeys(partitions, 0)
        while True:
            try:
                feed = await self._ports.reader.feed(start)
            except LogError:
                await self._ports.sleep(LOOK_EVERY_S)
                continue
            try:
                await self._listen(feed)
            except LogTruncated as made_anew:
                _LOG.warning("the heartbeats are read from the beginning: %s", made_anew)
                start = dict.fromkeys(partitions, 0)
                await self._ports.sleep(LOOK_EVERY_S)
            except LogError:
                start = dict(feed.positions)
                await self._ports.sleep(LOOK_EVERY_S)
            finally:
                await feed.close()

    async def _listen(self, feed: Feed) -> None:
        while True:
            asked_at = self._ports.clock.monotonic()
            ends = await self._ports.reader.ends(list(feed.positions))
            await self._hear(feed)
            if all(feed.positions[partition] >= end for partition, end in ends.items()):
                self._watch.listened(asked_at)
                self._listening.came_through(self._ports.clock.monotonic() - asked_at)
            self._write_where_silent()

    async def _hear(self, feed: Feed) -> None:
        """Wait for the time of one look, and take all there is."""
        until, within_s = self._ports.clock.monotonic() + self._look_every_s, self._look_every_s
        while (records := await feed.read(BATCH, within_s)) or within_s > 0:
            beats = [record.body for record in records if isinstance(record.body, Heartbeat)]
            self._watch.heard(beats, self._ports.clock.monotonic())
            if (left_s := until - self._ports.clock.monotonic()) > 0:
                await self._ports.sleep(left_s)
            within_s = 0.0

    # --- does the log take writes? ----------------------------------------------------------------------------------

    def _write_where_silent(self) -> None:
        for shard in [shard for shard, task in self._writing.items() if task.done()]:
            self._writing.pop(shard).result()
        for shard in self._watch.to_write_to(self._runs):
            if shard not in self._writing:
                self._writing[shard] = asyncio.create_task(self._write(shard))

    async def _write(self, shard: int) -> None:
        asked_at = self._ports.clock.monotonic()
        own = Heartbeat(executor=system(ROLE).name, time=self._ports.clock.now(), running=0)
        try:
            await self._ports.records.publish(Partition(EXECUTORS, shard), [own])
        except LogError as error:
            self._refusals[shard] = str(error)
            self._watch.refused(shard)
        else:
            self._refusals.pop(shard, None)
            self._watch.written(shard, asked_at, self._ports.clock.monotonic())

    # --- judging ----------------------------------------------------------------------------------------------------

    async def _judges(self) -> None:
        while True:
            began = self._ports.clock.monotonic()
            with suppress(InventoryUnavailable, LogError):  # it is looked at again a second later
                self._runs = await self._ports.inventory.unfinished_runs()
                took_s = self._ports.clock.monotonic() - began
                await self._order(self._watch.over(self._runs))
                self._judging.came_through(took_s)
            await self._ports.sleep(self._look_every_s)

    async def _order(self, claims: Sequence[Claim]) -> None:
        now = now_by(self._ports.clock)
        self._ordered = {c: at for c, at in self._ordered.items() if c in claims and now.monotonic - at < SEND_AGAIN_S}
        for claim in claims:
            if claim in self._ordered:
                continue
            history = await self._ports.inventory.history(stream_of(RUN, claim.run))
            command = expiry(claim, [recorded.event for recorded in history], now)
            if command is not None and self._watch.is_over(claim):  # it may have been heard of meanwhile
                await self._ports.sender.send(command)
                self._ordered[claim] = now.monotonic

"""How does the single writer of some shards work? take → recover what is new → settle → commit → publish the staged state.

One turn of the loop is one batch:

1. take a batch, of shards that are served only, and learn which shards are owned, under which tenure
2. forget shards that went, begin to recover shards that came: nothing of them is decided before that is done (`taking_over`)
3. load what the batch needs, settle as many of its commands in order as one transaction takes, staging what they cause
4. commit events, outcomes and consumed positions, all or nothing; then publish what was staged; meanwhile the next commands are
   settled behind them, and nothing of these is sent before that transaction is in the log
5. save snapshots now and then, only of what is committed

Errors have three names (see `schemas.log`): abort and replay, unknown or fenced → forget everything and start over, try again.
A shard that cannot be recovered stays unserved, and the others are served. What no turn can help leaves `run` as an exception.
"""

import logging
import traceback
from asyncio import Event, Task, create_task, gather, sleep
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from commands.counters import Counters
from commands.settle import Settled, settle
from commands.state_store import Needs, StateStoreFailed, StateStores
from commands.taking_over import Owned, Pace, TakingOver
from commands.transaction import Transaction, fill
from schemas.log import CommitAborted, EventReader, LogUnavailable, OwnedShards, OwnershipLost, Taken, TakenCommand, Undecodable
from schemas.position import Partition, Position
from schemas.topics import OUTCOMES
from schemas.unserved import UnservedShard

T = TypeVar("T")

_log = logging.getLogger(__name__)

_TAKE_BESIDE_S = 0.05
"""How long a take may wait while shards are being recovered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What an owner works with; `sleep` and `monotonic` are in seconds."""

    log: OwnedShards
    reader: EventReader
    stores: StateStores
    sleep: Callable[[float], Awaitable[None]]
    monotonic: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much at a time: a batch's commands, a transaction's commands and bytes, streams kept in memory a shard; how long, in
    seconds.

    `recovery_s` is for one shard, which is tried again `recovery_again_s` after it failed; `recoveries` is how many may fail in a
    row for want of a store, `recoveries_at_once` how many there are beside each other, each with a reader of its own.
    """

    batch: int = 500
    transaction: int = 100
    transaction_bytes: int = 8_388_608
    take_s: float = 0.5
    recovery_s: float = 100
    recovery_again_s: float = 30
    recoveries: int = 10
    recoveries_at_once: int = 8
    save_every_commands: int = 5_000
    save_every_s: float = 2
    cached_streams: int = 5_000
    least_pause_s: float = 0.02
    most_pause_s: float = 2


class Owner:
    """The only appender of events for the shards it owns. `counters` says how it is doing."""

    def __init__(self, ports: Ports, bounds: Bounds) -> None:
        self._ports, self._bounds = ports, bounds
        self._shards: dict[int, Owned] = {}
        self._pause_s = 0.0
        self._unsaved = 0
        self._saved_at = ports.monotonic()
        self.counters = Counters()
        pace = Pace(
            within_s=bounds.recovery_s,
            again_s=bounds.recovery_again_s,
            at_once=bounds.recoveries_at_once,
            without_store=bounds.recoveries,
            cached_streams=bounds.cached_streams,
        )
        self._taking_over = TakingOver(ports.reader, ports.stores, ports.monotonic, pace, self.counters)

    @property
    def tenures(self) -> Mapping[int, int]:
        """The shards it is ready to decide for, and the tenure of each."""
        return {shard: owned.tenure for shard, owned in self._shards.items()}

    @property
    def unserved(self) -> Sequence[UnservedShard]:
        """The shards it owns and cannot serve."""
        return self._taking_over.unserved

    @property
    def entries(self) -> int:
        """How many streams, rosters and outcomes it keeps in memory."""
        return sum(owned.state.entries for owned in self._shards.values())

    async def run(self, stop: Event) -> None:
        """Serve until `stop` is set, then save, leave the log in order and close the stores.

        Raises `StateStoreInUse` when it is not the only one under its name, `StateStoreLost` when it has no place for a shard's
        state, `RecoveryHangs` when a recovery does not end: another owner may.
        """
        try:
            while not stop.is_set():
                await self._turn()
            await self._leave_in_order()
        finally:
            try:
                await self._forget_all()
            finally:
                await self._ports.log.close()

    async def _turn(self) -> None:
        try:
            await self._save_if_due()  # here, so that it also comes after a turn that failed when it had committed something
            await self._work(await self._take())
            self._pause_s = 0
        except OwnershipLost as lost:
            _log.warning("ownership lost: %s", lost)
            self.counters.ownership_lost += 1
            await self._forget_all()
            await self._pause()
        except CommitAborted as aborted:
            _log.warning("transaction aborted: %s", aborted)
            self.counters.aborted += 1
            await self._pause()
        except LogUnavailable as unavailable:
            _log.warning("log unavailable: %s", unavailable)
            self.counters.unavailable += 1
            await self._pause()
        except StateStoreFailed as failed:
            _log.error("state store failed, all shards are recovered from the log: %s", failed)
            self.counters.store_failures += 1
            await self._discard_all()
            await self._pause()

    async def _take(self) -> Taken:
        """What waits in the shards that are served. While others are being recovered not for long: they are to be served then."""
        within_s = self._bounds.take_s
        if self._taking_over.is_at_work:
            await self._taking_over.wait(0 if self._shards else within_s)
            self._shards.update(self._taking_over.arrived())
            within_s = min(within_s, _TAKE_BESIDE_S)
        return await self._ports.log.take(self._bounds.batch, within_s, without=self._taking_over.shards)

    async def _pause(self) -> None:
        self._pause_s = min(self._bounds.most_pause_s, max(self._bounds.least_pause_s, self._pause_s * 2))
        await self._ports.sleep(self._pause_s)

    async def _work(self, taken: Taken) -> None:
        """One batch, or its abandonment: whatever goes wrong, nothing stays staged and the batch is given back."""
        try:
            await self._follow(taken.shards)
            if all(command.position.shard in self._shards for command in taken.commands):
                await self._serve(taken)
            else:
                await self._ports.log.abandon(taken)
        except (CommitAborted, LogUnavailable, StateStoreFailed):
            for owned in self._shards.values():
                owned.state.discard()
            await self._ports.log.abandon(taken)
            raise

    # --- tenures ------------------------------------------------------------------------------------------------------

    async def _follow(self, shards: Mapping[int, int]) -> None:
        """Forget what went, begin to recover what came."""
        for shard in [shard for shard, owned in self._shards.items() if shards.get(shard) != owned.tenure]:
            await self._forget(shard)
        await self._taking_over.follow({shard: tenure for shard, tenure in shards.items() if shard not in self._shards})

    async def _forget(self, shard: int) -> None:
        await self._shards.pop(shard).store.close()

    async def _forget_all(self) -> None:
        try:
            await self._taking_over.forget_all()
        finally:
            for shard in list(self._shards):
                await self._forget(shard)

    async def _discard_all(self) -> None:
        for owned in self._shards.values():
            await owned.store.discard()
        await self._forget_all()

    # --- a batch ------------------------------------------------------------------------------------------------------

    async def _serve(self, taken: Taken) -> None:
        await self._load(taken.commands)
        rest = taken.commands
        under_way: Task[None] | None = None
        try:
            while rest:
                transaction = fill(rest[: self._bounds.transaction], self._settle, self._bounds.transaction_bytes)
                part, rest = rest[: len(transaction.settled)], rest[len(transaction.settled) :]
                if under_way is not None:
                    await under_way
                    under_way = None
                for owned in self._shards.values():
                    owned.state.seal()
                commit = self._commit(Taken(taken.shards, part), transaction)
                if rest:
                    under_way = create_task(commit)
                    await sleep(0)  # so that it is on its way to the log before the next are settled
                else:
                    await commit
        finally:
            if under_way is not None:
                under_way.cancel()
                await gather(under_way, return_exceptions=True)
        for owned in self._shards.values():
            owned.state.trim()

    async def _load(self, commands: Sequence[TakenCommand]) -> None:
        by_shard: dict[int, list[TakenCommand]] = {}
        for command in commands:
            by_shard.setdefault(command.position.shard, []).append(command)
        asked: list[tuple[Owned, Needs]] = []
        for shard, mine in by_shard.items():
            owned = self._shards[shard]
            bodies = [command.body for command in mine if not isinstance(command.body, Undecodable)]
            needs = owned.state.needs([body.stream for body in bodies], [body.command_id for body in bodies])
            if needs:
                asked.append((owned, needs))
        # All at once: one after the other each shard would cost the way to another thread and back.
        for (owned, needs), found in zip(asked, await _ended([o.store.load(n) for o, n in asked]), strict=True):
            owned.state.admit(needs, found)

    def _settle(self, command: TakenCommand) -> Settled:
        state = self._shards[command.position.shard].state
        settled = settle(command, state)
        state.stage(settled)
        if settled.bug is not None:
            self._report(settled, settled.bug)
        return settled

    def _report(self, settled: Settled, bug: Exception) -> None:
        # The message of the exception may hold parts of the payload; where it was raised never does.
        where = "".join(traceback.format_tb(bug.__traceback__))
        outcome = settled.outcome
        _log.error("%s in %s, correlation id %s\n%s", type(bug).__name__, outcome.type, outcome.correlation_id, where)

    async def _commit(self, taken: Taken, transaction: Transaction) -> None:
        positions = await self._ports.log.commit(taken, transaction.events, transaction.outcomes)
        by_shard: dict[int, list[Position]] = {command.position.shard: [] for command in taken.commands}
        for position in positions:
            by_shard[position.shard].append(position)
        for shard, mine in by_shard.items():
            self._shards[shard].state.commit(mine)
        self.counters.committed(transaction.settled)
        self._unsaved += len(transaction.settled)
        self._pause_s = 0

    # --- snapshots ----------------------------------------------------------------------------------------------------

    async def _save_if_due(self) -> None:
        due = self._ports.monotonic() - self._saved_at >= self._bounds.save_every_s
        if due or self._unsaved >= self._bounds.save_every_commands:
            await self._save()

    async def _save(self) -> None:
        dirty = {shard: owned for shard, owned in self._shards.items() if owned.state.is_dirty}
        await _ended([owned.store.save(owned.state.changes()) for owned in dirty.values()])
        for owned in dirty.values():
            owned.state.saved()
        self._unsaved = 0
        self._saved_at = self._ports.monotonic()
        if dirty:
            self.counters.saves += 1
            ends = await self._ports.reader.ends([Partition(OUTCOMES, shard) for shard in dirty])
            for shard, owned in dirty.items():
                owned.state.outcomes_seen(ends[Partition(OUTCOMES, shard)])

    async def _leave_in_order(self) -> None:
        try:
            await self._save()
        except (LogUnavailable, StateStoreFailed) as failed:
            _log.warning("snapshots were not saved, the next start replays more: %s", failed)


async def _ended(calls: Sequence[Awaitable[T]]) -> list[T]:
    """The results of all calls at once. When one fails all have ended before it is raised: none may come after a discard."""
    results = await gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast("list[T]", results)

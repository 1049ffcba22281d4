"""How does the single writer of some shards work? take → recover what is new → settle → commit → publish the staged state.

One turn of the loop is one batch:

1. take a batch and learn which shards are owned, under which tenure
2. forget shards that went, recover shards that came: nothing is decided before
3. load what the batch needs, settle as many of its commands in order as one transaction takes, staging what they cause
4. commit events, outcomes and consumed positions, all or nothing; then publish what was staged; meanwhile the next commands are
   settled behind them, and nothing of these is sent before that transaction is in the log
5. save snapshots now and then, only of what is committed

Errors have three names (see `schemas.log`): abort and replay, unknown or fenced → forget everything and start over, try again.
What cannot be helped by any of them (a broken log, a shard that cannot be recovered in time) leaves `run` as an exception.
"""

import logging
import traceback
from asyncio import Event, Task, create_task, gather, sleep
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from commands.counters import Counters
from commands.recovery import Recovery, recover
from commands.settle import Settled, settle
from commands.shard_state import ShardState
from commands.state_store import Needs, StateStore, StateStoreFailed, StateStoreLost, StateStores
from commands.transaction import Transaction, fill
from schemas.log import CommitAborted, EventReader, LogUnavailable, OwnedShards, OwnershipLost, Taken, TakenCommand, Undecodable
from schemas.position import Partition, Position
from schemas.topics import OUTCOMES

T = TypeVar("T")

_log = logging.getLogger(__name__)


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

    `recovery_s` must stay below the time after which the log takes a silent owner for dead. `recoveries` is how many may fail
    in a row for want of a store.
    """

    batch: int = 500
    transaction: int = 100
    transaction_bytes: int = 8_388_608
    take_s: float = 0.5
    recovery_s: float = 100
    recoveries: int = 10
    save_every_commands: int = 5_000
    save_every_s: float = 2
    cached_streams: int = 5_000
    least_pause_s: float = 0.02
    most_pause_s: float = 2


@dataclass(slots=True)
class _Owned:
    tenure: int
    store: StateStore
    state: ShardState


class Owner:
    """The only appender of events for the shards it owns. `counters` says how it is doing."""

    def __init__(self, ports: Ports, bounds: Bounds) -> None:
        self._ports, self._bounds = ports, bounds
        self._shards: dict[int, _Owned] = {}
        self._pause_s = 0.0
        self._without_store = 0
        self._unsaved = 0
        self._saved_at = ports.monotonic()
        self.counters = Counters()

    @property
    def tenures(self) -> Mapping[int, int]:
        """The shards it is ready to decide for, and the tenure of each."""
        return {shard: owned.tenure for shard, owned in self._shards.items()}

    @property
    def entries(self) -> int:
        """How many streams, rosters and outcomes it keeps in memory."""
        return sum(owned.state.entries for owned in self._shards.values())

    async def run(self, stop: Event) -> None:
        """Serve until `stop` is set, then save, leave the log in order and close the stores.

        Raises `RecoveryFailed` or `LogTruncated` when a shard cannot be served, `StateStoreInUse` when it is not the only one
        under its name, `StateStoreLost` when it has no place to keep a shard's state: another owner may.
        """
        try:
            while not stop.is_set():
                await self._turn(stop)
            await self._leave_in_order()
        finally:
            await self._forget_all()
            await self._ports.log.close()

    async def _turn(self, stop: Event) -> None:
        try:
            await self._save_if_due()  # here, so that it also comes after a turn that failed when it had committed something
            taken = await self._ports.log.take(self._bounds.batch, self._bounds.take_s)
            await self._work(taken, stop)
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

    async def _pause(self) -> None:
        self._pause_s = min(self._bounds.most_pause_s, max(self._bounds.least_pause_s, self._pause_s * 2))
        await self._ports.sleep(self._pause_s)

    async def _work(self, taken: Taken, stop: Event) -> None:
        """One batch, or its abandonment: whatever goes wrong, nothing stays staged and the batch is given back."""
        try:
            if await self._follow(taken.shards, stop):
                await self._serve(taken)
            else:
                await self._ports.log.abandon(taken)
        except (CommitAborted, LogUnavailable, StateStoreFailed):
            for owned in self._shards.values():
                owned.state.discard()
            await self._ports.log.abandon(taken)
            raise

    # --- tenures ------------------------------------------------------------------------------------------------------

    async def _follow(self, shards: Mapping[int, int], stop: Event) -> bool:
        """Forget what went, recover what came; False when told to stop before all was recovered."""
        for shard in [shard for shard, owned in self._shards.items() if shards.get(shard) != owned.tenure]:
            await self._forget(shard)
        deadline = self._ports.monotonic() + self._bounds.recovery_s
        for shard, tenure in shards.items():
            if shard not in self._shards and not await self._recover(shard, tenure, deadline, stop):
                return False
        self._without_store = 0
        return True

    async def _recover(self, shard: int, tenure: int, deadline: float, stop: Event) -> bool:
        try:
            return await self._recovered(shard, tenure, deadline, stop)
        except StateStoreFailed as failed:
            self._without_store += 1
            if self._without_store < self._bounds.recoveries:
                raise
            raise StateStoreLost(f"shard {shard} was not recovered {self._without_store} times in a row: {failed}") from failed

    async def _recovered(self, shard: int, tenure: int, deadline: float, stop: Event) -> bool:
        ports = self._ports
        store = await ports.stores.open(shard)
        try:
            work = Recovery(ports.reader, self.counters, ports.monotonic, deadline, stop, self._bounds.cached_streams)
            state = await recover(shard, store, work)
        except StateStoreFailed:
            await store.discard()
            await store.close()
            raise
        except BaseException:
            await store.close()
            raise
        if state is None:
            await store.close()
            return False
        self._shards[shard] = _Owned(tenure, store, state)
        return True

    async def _forget(self, shard: int) -> None:
        await self._shards.pop(shard).store.close()

    async def _forget_all(self) -> None:
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
        asked: list[tuple[_Owned, Needs]] = []
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

"""How does the owner take commands from the file and commit what they caused?

One process has the file, so one member owns every shard: the newest that has not closed. An older one finds that it owns
nothing, and its commits are refused. What was queued for the writer before a take-over is decided before the new owner takes;
and each decision says from where it moves a lane, so that nothing is consumed twice whatever became of an earlier one.
"""

import asyncio
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial

from infra.sqlite.layout import Layout
from infra.sqlite.newest import Newest
from infra.sqlite.reading import ReadPool, Stretch, read_on
from infra.sqlite.records import encoded
from infra.sqlite.transaction import Consumed, Decision
from infra.sqlite.waiting import Waiting
from infra.sqlite.writer import Writer
from schemas.event_envelope import EventEnvelope
from schemas.log import (
    NO_SHARDS,
    CommitAborted,
    LogUnavailable,
    OwnershipLost,
    RecordTooLarge,
    ResultUnknown,
    Taken,
    TakenCommand,
)
from schemas.outcome import Outcome
from schemas.partitioning import shard_of
from schemas.position import Partition, Position
from schemas.topics import COMMANDS_PEOPLE, COMMANDS_SYSTEM
from schemas.wire import topic_of

_MEMBERS = "members"
"""What those wait for who own nothing."""


@dataclass(frozen=True, slots=True)
class LogParts:
    """What a member needs of its log: `committed` are the ends as the writer tells them."""

    layout: Layout
    writer: Writer
    pool: ReadPool
    committed: Mapping[Partition, int]
    waiting: Waiting
    newest: Newest


class Members:
    """Those who want to own the shards, the owner last, and the tenure given out last."""

    def __init__(self) -> None:
        self._joined: list[SqliteOwnedShards] = []
        self._tenure = 0

    def join(self, member: "SqliteOwnedShards") -> None:
        """The newest owns everything; the one before loses it."""
        for other in self._joined:
            other.lose()
        self._joined.append(member)

    def leave(self, member: "SqliteOwnedShards") -> None:
        """The newest that stays owns everything."""
        if member in self._joined:
            self._joined.remove(member)

    def is_owner(self, member: "SqliteOwnedShards") -> bool:
        """Whether `member` is the newest."""
        return bool(self._joined) and self._joined[-1] is member

    def next_tenure(self) -> int:
        """A tenure greater than all before."""
        self._tenure += 1
        return self._tenure


class SqliteOwnedShards:
    """One member. After `OwnershipLost` its next take begins a new tenure, if it is still the newest."""

    def __init__(self, log: LogParts, members: Members) -> None:
        self._log = log
        self._members = members
        self._tenure: int | None = None
        self._consumed: dict[Partition, int] = {}
        self._turn = 0
        members.join(self)
        log.waiting.wake([_MEMBERS])

    async def take(self, limit: int, within_s: float, without: Set[int] = NO_SHARDS) -> Taken:
        """Up to `limit` commands after the committed positions, people's lane first; empty after `within_s` seconds."""
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            taken = await self._take(limit, without)
            lanes = (lane for lane in self._consumed if lane.shard not in without)
            if taken.commands or not await self._log.waiting.wait([_MEMBERS, *lanes], deadline):
                return taken

    async def commit(self, taken: Taken, events: Sequence[EventEnvelope], outcomes: Sequence[Outcome]) -> Sequence[Position]:
        """Everything in one SQL transaction. Raises `CommitAborted` or `OwnershipLost`."""
        tenure = self._tenure
        if tenure is None or any(held != tenure for held in taken.shards.values()):
            raise self._lost("the shards are another owner's")
        decision = self._decision(taken, events, outcomes)
        size = sum(record.size for _, record in (*decision.events, *decision.outcomes))
        try:
            offsets = await self._log.writer.submit(decision, size)
        except LogUnavailable as error:
            raise CommitAborted(str(error)) from error
        except (ResultUnknown, OwnershipLost) as error:
            raise self._lost(str(error)) from error
        self._consumed.update({lane: to for lane, (_, to) in decision.moved.items()})
        return [Position(*partition, offset) for (partition, _), offset in zip(decision.events, offsets, strict=True)]

    async def abandon(self, taken: Taken) -> None:
        """Give the batch back: takes begin at the committed positions anyway."""

    async def close(self) -> None:
        """Leave; the shards pass to the newest member that stays."""
        self.lose()
        self._members.leave(self)
        self._log.waiting.wake([_MEMBERS])

    def lose(self) -> None:
        """End the tenure; waiting takes see it at once."""
        self._tenure = None

    def _lost(self, why: str) -> OwnershipLost:
        self._tenure = None
        return OwnershipLost(why)

    async def _take(self, limit: int, without: Set[int]) -> Taken:
        if not self._members.is_owner(self):
            return Taken({}, ())
        tenure = self._tenure
        if tenure is None:
            tenure = await self._assume()
        found = await self._commands(limit, without)
        return Taken(dict.fromkeys(range(self._log.layout.shards), tenure), found)

    async def _assume(self) -> int:
        tenure = self._members.next_tenure()
        self._consumed = dict(await self._log.writer.submit(Consumed()))
        if self._members.is_owner(self):
            self._tenure = tenure
        return tenure

    async def _commands(self, limit: int, without: Set[int]) -> Sequence[TakenCommand]:
        behind = self._behind(without)
        if not behind:
            return ()
        found = self._log.newest.read_on(behind, limit)
        if found is None:
            found = await self._log.pool.run(partial(read_on, layout=self._log.layout, stretches=behind, limit=limit))
        else:
            await asyncio.sleep(0)
        return [TakenCommand(record.position, record.body) for record in found]  # type: ignore[arg-type]  # lanes hold commands

    def _behind(self, without: Set[int]) -> list[Stretch]:
        layout = self._log.layout
        shards = [shard for shard in range(layout.shards) if shard not in without]
        self._turn += 1
        turn = self._turn % len(shards) if shards else 0
        behind = []
        for lane in (COMMANDS_PEOPLE, COMMANDS_SYSTEM):
            for shard in (*shards[turn:], *shards[:turn]):
                partition = Partition(lane, shard)
                stretch = Stretch(
                    partition, self._consumed[partition] - layout.first_id(partition), self._log.committed[partition]
                )
                if stretch.start < stretch.end:
                    behind.append(stretch)
        return behind

    def _decision(self, taken: Taken, events: Sequence[EventEnvelope], outcomes: Sequence[Outcome]) -> Decision:
        layout = self._log.layout
        moved: dict[Partition, tuple[int, int]] = {}
        for command in taken.commands:
            lane = command.position.partition
            moved[lane] = (self._consumed[lane], layout.first_id(lane) + command.position.offset + 1)
        try:
            return Decision(
                [(Partition(topic_of(e.stream), shard_of(e.stream, layout.shards)), encoded(e)) for e in events],
                [(outcome, encoded(outcome)) for outcome in outcomes],
                moved,
            )
        except RecordTooLarge as error:
            raise CommitAborted(str(error)) from error

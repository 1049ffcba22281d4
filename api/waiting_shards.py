"""In which shards do commands wait that this server sent, and for how long?

An API process sees no owners. What it sees is that nothing comes of what it sent: that no owner lives, or that the one that does
cannot serve a shard, shows there alike.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from schemas.command_envelope import CommandEnvelope
from schemas.log import LogUnavailable, Outcomes
from schemas.outcome import Outcome
from schemas.partitioning import shard_of

TOLD_AFTER_S = 10.0
"""An owner that is started anew, or takes over from another, needs less as a rule."""
_ASKED_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class _Sent:
    command_id: UUID
    at: float


class WaitingShards:
    """Of each shard the first and the last command in the log of whose outcome this server has not heard.

    A lane is decided in order, so those between need not be remembered. Times are `monotonic` seconds.
    """

    def __init__(self, outcomes: Outcomes, shards: int, monotonic: Callable[[], float]) -> None:
        self._outcomes, self._shards, self._monotonic = outcomes, shards, monotonic
        self._not_heard: dict[int, list[_Sent]] = {}

    def not_heard(self, command: CommandEnvelope) -> None:
        """The command is in the log, and its outcome is not known yet."""
        sent = self._not_heard.setdefault(shard_of(command.stream, self._shards), [])
        sent[1:] = [_Sent(command.command_id, self._monotonic())]

    def heard(self, command: CommandEnvelope, outcome: Outcome, sent_at: float) -> None:
        """Its outcome is known, and so is that of all that were in the log before it was sent.

        Unless it was sent again: then the outcome may be that of the first time, from before anything began to wait.
        """
        shard = shard_of(command.stream, self._shards)
        if shard in self._not_heard and outcome.time == command.time:
            self._keep(shard, [sent for sent in self._not_heard[shard] if sent.at > sent_at])

    async def told(self) -> Sequence[Mapping[str, object]]:
        """The shards where one still waits and has for long: at least for `waiting_s` seconds."""
        with suppress(TimeoutError):  # what is not said in time still waits, as far as this server knows
            async with asyncio.timeout(_ASKED_WITHIN_S):
                await self._forget_decided()
        now = self._monotonic()
        waiting = sorted((shard, now - sent[0].at) for shard, sent in self._not_heard.items())
        return [{"shard": shard, "waiting_s": round(since_s, 1)} for shard, since_s in waiting if since_s >= TOLD_AFTER_S]

    async def _forget_decided(self) -> None:
        for shard, sent in list(self._not_heard.items()):
            decided = [one for one in sent if await self._is_decided(one)]
            self._keep(shard, [one for one in self._not_heard.get(shard, ()) if one not in decided])

    async def _is_decided(self, sent: _Sent) -> bool:
        try:
            return await self._outcomes.wait(sent.command_id, 0) is not None
        except LogUnavailable:
            return False

    def _keep(self, shard: int, sent: list[_Sent]) -> None:
        if sent:
            self._not_heard[shard] = sent
        else:
            self._not_heard.pop(shard, None)

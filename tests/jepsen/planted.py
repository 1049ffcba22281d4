"""Bugs that a run must find: each is put into the processes of the role it is named after, as somebody might write it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

from confluent_kafka import IsolationLevel

import api.submit
import commands.owner
import commands.recovery
import commands.shard_state
import infra.kafka.consuming
import infra.kafka.owned_shards
import infra.kafka.transaction
from schemas.log import OwnershipLost

SUBMIT: Any = api.submit
OWNER: Any = commands.owner.Owner
RECOVERY: Any = commands.recovery
STATE: Any = commands.shard_state.ShardState
CONSUMING: Any = infra.kafka.consuming
SHARDS: Any = infra.kafka.owned_shards.KafkaOwnedShards
TRANSACTION: Any = infra.kafka.transaction


def owner_replays_to_what_is_decided() -> None:
    """Taking over, it reads to the last stable offset, not to the high watermark (HAZARDS D2)."""

    class Committed:
        READ_UNCOMMITTED = READ_COMMITTED = IsolationLevel.READ_COMMITTED

    CONSUMING.IsolationLevel = Committed


def owner_does_not_replay() -> None:
    """Taking over, it believes its snapshots."""

    async def nothing(*_: Any) -> bool:
        return True

    RECOVERY._catch_up = nothing


def owner_uses_its_producer_again() -> None:
    """After a result in doubt it goes on with the same producer, which fences no straggler (HAZARDS D1)."""
    transactions = TRANSACTION.Transactions
    throw_away = transactions._throw_away

    def keep(self: Any) -> None:
        if self._fenced or not self._doubtful:
            throw_away(self)
        self._doubtful = False

    transactions._throw_away = keep
    transactions._lost_a_broker = lambda self: False


def owner_forgets_nothing_when_fenced() -> None:
    """Losing its shards, it takes what was in its last transaction for committed, and goes on."""
    commit = OWNER._commit

    async def committed(owner: Any, taken: Any, transaction: Any) -> None:
        try:
            await commit(owner, taken, transaction)
        except OwnershipLost:
            for owned in owner._shards.values():
                owned.state._keep(owned.state._sealed)

    OWNER._commit = committed


def owner_forgets_outcomes() -> None:
    """A command that comes again is decided again."""
    STATE.remembered = lambda self, command_id: self._staged.outcomes.get(command_id)


def owner_commits_no_offsets() -> None:
    """Consumed positions are not part of the transaction: whoever takes over does everything again."""
    TRANSACTION.Producer.send_offsets_to_transaction = lambda self, *given: None


def owner_ignores_the_group() -> None:
    """It commits though its shards have gone to another: no tenure is looked at, and the group is not asked to fence."""
    SHARDS._check_tenures = lambda self, taken, shards: None
    owner_commits_no_offsets()


def api_sends_a_command_again_as_another() -> None:
    """What is not answered in time it sends once more, under a key of its own."""
    outcome_of = SUBMIT.outcome_of

    async def insisting(write: Any, command: Any, attempt: int = 1) -> Any:
        try:
            return await outcome_of(write, command, attempt)
        except SUBMIT.Pending:
            if not write.waits:
                raise
            return await outcome_of(replace(write, key=str(uuid4())), command, attempt)

    SUBMIT.outcome_of = insisting


PLANTED: Mapping[str, Callable[[], None]] = {
    plant.__name__: plant
    for plant in (
        owner_replays_to_what_is_decided,
        owner_does_not_replay,
        owner_uses_its_producer_again,
        owner_forgets_nothing_when_fenced,
        owner_forgets_outcomes,
        owner_commits_no_offsets,
        owner_ignores_the_group,
        api_sends_a_command_again_as_another,
    )
}

"""Bugs to be found: each is put into the real code for a while, as somebody might write it."""

from collections.abc import Callable, Mapping
from typing import Any

from pytest import MonkeyPatch

from commands.shard_state import ShardState
from domain.run.messages import ReportRun, StepStart
from infra.memory.log import MemoryReader
from infra.memory.owned import MemoryOwnedShards
from processors.executor import step_runner
from processors.executor.actions import KillSteps, StartStep
from processors.executor.held_run import HeldRun
from processors.sweeper.core import LeaseWatch
from projections import place


def owner_decides_before_it_has_caught_up(patch: MonkeyPatch) -> None:
    """It replays up to what is decided, not up to what may yet be (HAZARDS D2)."""

    async def ends(reader: MemoryReader, partitions: Any) -> Any:
        return {partition: reader._log.storage.stable_end(partition) for partition in partitions}

    patch.setattr(MemoryReader, "ends", ends)


def owner_is_not_fenced(patch: MonkeyPatch) -> None:
    """A zombie's transaction is taken."""
    patch.setattr(MemoryOwnedShards, "_fence", lambda *_: None)


def owner_keeps_its_state_after_a_doubtful_commit(patch: MonkeyPatch) -> None:
    """Staged state is published though the transaction was aborted."""
    patch.setattr(ShardState, "discard", lambda self: self._keep_staged())


def owner_forgets_outcomes(patch: MonkeyPatch) -> None:
    """A command that comes again is decided again."""
    patch.setattr(ShardState, "remembered", lambda self, command_id: self._staged.outcomes.get(command_id))


def executor_acts_before_its_intent_is_accepted(patch: MonkeyPatch) -> None:
    """Steps begin with the report that asks for them."""
    decided, confirmed = HeldRun._decide, HeldRun._confirmed

    def decide(run: HeldRun, command: Any, now: Any) -> Any:
        actions = decided(run, command, now)
        starts = [e for e in command.entries if isinstance(e, StepStart)] if isinstance(command, ReportRun) else []
        return actions + [run._start(start, now.monotonic + 6) for start in starts]

    def confirm(run: HeldRun, pending: Any, now: Any) -> Any:
        return [action for action in confirmed(run, pending, now) if not isinstance(action, StartStep)]

    patch.setattr(HeldRun, "_decide", decide)
    patch.setattr(HeldRun, "_confirmed", confirm)


def executor_repeats_a_step_of_unknown_end(patch: MonkeyPatch) -> None:
    """A step whose connection was lost is begun again, as the same attempt."""
    watched = step_runner._watched

    async def watch(*given: Any) -> Any:
        end = await watched(*given)
        return await watched(*given) if end.state == "lost" else end

    patch.setattr(step_runner, "_watched", watch)


def executor_forgets_to_report_what_it_killed(patch: MonkeyPatch) -> None:
    """Steps that are to be ended go on, hanging for ever."""
    kill = HeldRun._kill
    patch.setattr(HeldRun, "_kill", lambda run: [a for a in kill(run) if not isinstance(a, KillSteps)])
    patch.setattr(HeldRun, "step_done", lambda run, epoch, end: None)


def sweeper_believes_in_everyone(patch: MonkeyPatch) -> None:
    """No silence is long enough."""
    patch.setattr(LeaseWatch, "_is_lost", lambda *_: False)


def projections_move_twice(patch: MonkeyPatch) -> None:
    """Positions are moved without a look at where they are, and the place in memory is not."""
    patch.setattr(place, "_claim", lambda *_: None)


PLANTED: Mapping[Callable[[MonkeyPatch], None], set[str]] = {
    owner_decides_before_it_has_caught_up: {"versions_are_gapless", "chain_is_unbroken", "targets_saw_only_intents"},
    owner_is_not_fenced: {"versions_are_gapless", "chain_is_unbroken"},
    owner_keeps_its_state_after_a_doubtful_commit: {"versions_are_gapless", "chain_is_unbroken"},
    owner_forgets_outcomes: {"told_alike", "unknown_is_one_or_none", "ok_is_there_once"},
    executor_acts_before_its_intent_is_accepted: {"targets_saw_only_intents"},
    executor_repeats_a_step_of_unknown_end: {"targets_saw_each_attempt_once"},
    executor_forgets_to_report_what_it_killed: {"runs_end"},
    sweeper_believes_in_everyone: {"runs_end"},
    projections_move_twice: {"read_models_are_the_log"},
}
"""Each bug, and which invariants it may be found by."""

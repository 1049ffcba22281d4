"""Bugs to be found: each is put into the real code for a while, as somebody might write it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from pytest import MonkeyPatch

from commands import settle
from commands.shard_state import ShardState
from commands.state_store import Found, Needs
from domain.run.messages import ReportRun, RunCancelRequested, RunFinished, StepFinished, StepStart
from domain.target import TargetRetitled
from infra.memory.log import MemoryReader
from infra.memory.owned import MemoryOwnedShards
from infra.memory.state_store import MemoryStateStore
from processors.executor import step_runner
from processors.executor.actions import KillSteps, StartStep
from processors.executor.held_run import HeldRun
from processors.sweeper.core import LeaseWatch
from processors.sweeper.runtime import SweeperPorts, SweeperRuntime
from projections import place, projection, run_steps, runs, targets
from projections.apply import Applier
from projections.fact import Fact
from projections.own_rows import OwnRows
from projections.place import Place
from schemas.heartbeat import Heartbeat
from schemas.log import Taken
from schemas.outcome import Outcome, Rejected
from schemas.position import Partition
from schemas.topics import COMMANDS_SYSTEM
from tests.support.simulated_ports import Owned


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


def owner_swallows_commands(patch: MonkeyPatch) -> None:
    """Of what people want it decides the last of each batch; the others are taken, and nobody hears of them again."""
    take = Owned.take

    async def taken(owned: Owned, limit: int, within_s: float) -> Taken:
        found = await take(owned, limit, within_s)
        last = {command.position.partition: command for command in found.commands}
        kept = [c for c in found.commands if c.position.topic == COMMANDS_SYSTEM or last[c.position.partition] is c]
        return Taken(found.shards, kept)

    patch.setattr(Owned, "take", taken)


def owner_writes_no_rejections(patch: MonkeyPatch) -> None:
    """Nobody ever hears that a command was refused."""
    commit = Owned.commit

    async def committed(owned: Owned, taken: Taken, events: Any, outcomes: Sequence[Outcome]) -> Any:
        return await commit(owned, taken, events, [o for o in outcomes if not isinstance(o.result, Rejected)])

    patch.setattr(Owned, "commit", committed)


def owner_ignores_the_expected_version(patch: MonkeyPatch) -> None:
    """Whatever version somebody saw, the change is made."""
    decided = settle._decided
    patch.setattr(settle, "_decided", lambda command, *rest: decided(replace(command, expected_version=None), *rest))


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


def owner_answers_before_its_commit(patch: MonkeyPatch) -> None:
    """Outcomes go out in a transaction of their own, before that of the events they tell of."""
    commit = Owned.commit

    async def committed(owned: Owned, taken: Taken, events: Any, outcomes: Any) -> Any:
        await commit(owned, Taken(taken.shards, []), [], outcomes)
        return await commit(owned, taken, events, [])

    patch.setattr(Owned, "commit", committed)


def owner_loses_the_dedupe_window_at_restart(patch: MonkeyPatch) -> None:
    """What is remembered is what this process has decided itself: neither snapshots nor the log bring anything back."""
    load = MemoryStateStore.load

    async def loaded(store: MemoryStateStore, needs: Needs) -> Found:
        return replace(await load(store, needs), outcomes={})

    patch.setattr(ShardState, "replay_outcome", lambda *_: None)
    patch.setattr(MemoryStateStore, "load", loaded)
    patch.setattr(ShardState, "saved", _keep_outcomes(ShardState.saved))


def _keep_outcomes(saved: Callable[[ShardState], None]) -> Callable[[ShardState], None]:
    def kept(state: ShardState) -> None:
        outcomes = state._unsaved_outcomes
        saved(state)
        state._unsaved_outcomes = outcomes

    return kept


def sweeper_judges_by_wall_clock(patch: MonkeyPatch) -> None:
    """It compares the time of day in a heartbeat with its own."""
    heard, begin = LeaseWatch.heard, SweeperRuntime.__init__

    def hear(watch: LeaseWatch, heartbeats: Sequence[Heartbeat], now: float) -> None:
        heard(watch, heartbeats, now)
        watch._heard.update({beat.executor: beat.time.timestamp() for beat in heartbeats})

    def begun(sweeper: SweeperRuntime, lease_s: float, ports: SweeperPorts) -> None:
        clock = SimpleNamespace(now=ports.clock.now, monotonic=lambda: ports.clock.now().timestamp())
        begin(sweeper, lease_s, replace(ports, clock=clock))

    patch.setattr(LeaseWatch, "heard", hear)
    patch.setattr(SweeperRuntime, "__init__", begun)


def sweeper_believes_in_everyone(patch: MonkeyPatch) -> None:
    """No silence is long enough."""
    patch.setattr(LeaseWatch, "_is_lost", lambda *_: False)


def projections_move_twice(patch: MonkeyPatch) -> None:
    """Positions are moved without a look at where they are, and the place in memory is not."""
    patch.setattr(place, "_claim", lambda *_: None)


def projections_save_their_position_in_another_transaction(patch: MonkeyPatch) -> None:
    """The rows are committed first, then the position."""

    async def moved(applier: Applier, places: Sequence[Place], facts: Sequence[Fact], after: Mapping[Partition, int]) -> None:
        here = {partition: at for one in places for partition, at in one.positions.items() if partition in after}
        await applier._store.transact(partial(place.advance, places=places, facts=facts, after=here))
        await move(applier, places, [], after)

    move = Applier._move
    patch.setattr(Applier, "_move", moved)


def projection_keeps_the_first_title(patch: MonkeyPatch) -> None:
    """Deterministic: however often its rows are built, they come out the same."""
    changes = targets._changes

    def changed(own: OwnRows, fact: Fact) -> dict[str, Any]:
        return {} if isinstance(fact.event, TargetRetitled) else changes(own, fact)

    patch.setattr(targets, "_changes", changed)


def projection_keeps_the_counts_before_the_end(patch: MonkeyPatch) -> None:
    """Targets that a run never came to are in no row's counts; deterministic as well."""
    advanced = runs._advanced

    def advance(row: Any, event: Any, time: str) -> dict[str, Any]:
        changed = advanced(row, event, time)
        return {**changed, "counts": row["counts"]} if isinstance(event, RunFinished) else changed

    patch.setattr(runs, "_advanced", advance)


def projection_shows_failed_steps_as_succeeded(patch: MonkeyPatch) -> None:
    """However often the rows of steps are built."""
    finish = run_steps._finish

    def finished(own: OwnRows, run: str, event: StepFinished, time: str) -> None:
        is_failed = event.state == "failed"
        finish(own, run, replace(event, state="succeeded", exit_code=0, error=None) if is_failed else event, time)

    patch.setattr(run_steps, "_finish", finished)


def projection_keeps_the_first_piece_of_output(patch: MonkeyPatch) -> None:
    """What comes after it is in nobody's rows, live or built anew."""
    insert = projection.insert_rows

    def inserted(connection: Any, table: Any, rows: Sequence[Mapping[str, Any]], keep_first: bool) -> None:
        insert(connection, table, [row for row in rows if row.get("sequence", 1) == 1], keep_first)

    patch.setattr(projection, "insert_rows", inserted)


def audit_index_lacks_cancellations(patch: MonkeyPatch) -> None:
    """The rows of runs tell of them; who wanted them, nobody finds."""
    insert = projection.insert_rows

    def inserted(connection: Any, table: Any, rows: Sequence[Mapping[str, Any]], keep_first: bool) -> None:
        insert(connection, table, [row for row in rows if row.get("type") != RunCancelRequested.__name__], keep_first)

    patch.setattr(projection, "insert_rows", inserted)


@dataclass(frozen=True, slots=True)
class Trace:
    """By which invariants a planted bug may be found, and a seed that was seen to find it: it is tried first."""

    invariants: frozenset[str]
    seed: int


def _by(*invariants: str, seed: int) -> Trace:
    return Trace(frozenset(invariants), seed)


_FORKED = ("versions_are_gapless", "chain_is_unbroken")

PLANTED: Mapping[Callable[[MonkeyPatch], None], Trace] = {
    owner_decides_before_it_has_caught_up: _by(*_FORKED, "targets_saw_only_intents", seed=0),
    owner_is_not_fenced: _by(*_FORKED, seed=14),
    owner_keeps_its_state_after_a_doubtful_commit: _by(*_FORKED, seed=4),
    owner_forgets_outcomes: _by("told_alike", "unknown_is_one_or_none", "ok_is_there_once", seed=0),
    owner_answers_before_its_commit: _by("ok_is_there_once", "told_alike", "outcomes_agree_with_events", seed=0),
    owner_loses_the_dedupe_window_at_restart: _by("told_alike", "unknown_is_one_or_none", "ok_is_there_once", seed=0),
    owner_swallows_commands: _by("every_command_is_decided_once", seed=0),
    owner_writes_no_rejections: _by("every_command_is_decided_once", seed=0),
    owner_ignores_the_expected_version: _by("expected_versions_are_kept", seed=4),
    executor_acts_before_its_intent_is_accepted: _by("targets_saw_only_intents", seed=2),
    executor_repeats_a_step_of_unknown_end: _by("targets_saw_each_attempt_once", seed=32),
    executor_forgets_to_report_what_it_killed: _by("runs_end", seed=0),
    sweeper_believes_in_everyone: _by("runs_end", seed=2),
    sweeper_judges_by_wall_clock: _by("the_living_keep_their_claims", seed=11),
    projections_move_twice: _by("read_models_are_the_log", seed=1),
    projections_save_their_position_in_another_transaction: _by("read_models_are_the_log", seed=3),
    projection_keeps_the_first_title: _by("rows_say_what_the_log_says", seed=4),
    projection_keeps_the_counts_before_the_end: _by("rows_say_what_the_log_says", seed=4),
    projection_shows_failed_steps_as_succeeded: _by("rows_say_what_the_log_says", seed=4),
    projection_keeps_the_first_piece_of_output: _by("rows_say_what_the_log_says", seed=0),
    audit_index_lacks_cancellations: _by("rows_say_what_the_log_says", seed=4),
}

"""Bugs to be found: each is put into the real code for a while, as somebody might write it."""

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from pytest import MonkeyPatch

from commands import settle
from commands.recording import recorded
from commands.shard_state import ShardState
from commands.state_store import Found, Needs
from domain.run import decide, step_failure
from domain.run.messages import ReportRun, RunCancelRequested, RunFinished, StepFinished, StepStart
from domain.target import TargetRetitled
from infra.memory.log import MemoryReader
from infra.memory.owned import MemoryOwnedShards
from infra.memory.state_store import MemoryStateStore
from processors import delivery
from processors.executor import step_runner
from processors.executor.actions import KillSteps, StartStep
from processors.executor.held_run import HeldRun
from processors.executor.output import RETRY_S, OutputPublisher
from processors.sweeper.core import LeaseWatch
from processors.sweeper.runtime import SweeperPorts, SweeperRuntime
from projections import place, projection, run_steps, runs, targets
from projections.apply import Applier
from projections.fact import Fact
from projections.own_rows import OwnRows
from projections.place import Place
from schemas.actor import system
from schemas.heartbeat import Heartbeat
from schemas.log import NO_SHARDS, LogUnavailable, ResultUnknown, Taken
from schemas.outcome import Outcome, Rejected
from schemas.position import Partition
from schemas.run_output import OutputChunk
from schemas.topics import COMMANDS_SYSTEM
from tests.support import simulated_clients
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
    discard = ShardState.discard
    patch.setattr(ShardState, "discard", lambda self: (self._keep(self._sealed), self._keep(self._staged), discard(self)))


def owner_forgets_outcomes(patch: MonkeyPatch) -> None:
    """A command that comes again is decided again."""
    patch.setattr(ShardState, "remembered", lambda self, command_id: self._staged.outcomes.get(command_id))


def owner_swallows_commands(patch: MonkeyPatch) -> None:
    """Of what people want it decides the last of each batch; the others are taken, and nobody hears of them again."""
    take = Owned.take

    async def taken(owned: Owned, limit: int, within_s: float, without: Set[int] = NO_SHARDS) -> Taken:
        found = await take(owned, limit, within_s, without)
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


def owner_says_that_no_run_is_unfinished(patch: MonkeyPatch) -> None:
    """Runs of a job never meet."""
    patch.setattr(ShardState, "unfinished", lambda self, key: ())


def owner_writes_events_in_its_own_name(patch: MonkeyPatch) -> None:
    """The owner is who did it."""
    patch.setattr(settle, "recorded", lambda command, *rest: recorded(replace(command, actor=system("commands")), *rest))


def whoever_uses_an_id_again_is_told_of_the_first_command(patch: MonkeyPatch) -> None:
    """Another command under a used id is told what became of that id's first one."""
    for module in (simulated_clients, delivery):
        patch.setattr(module, "result_for", lambda command, outcome: outcome.result)


def run_begins_a_lost_step_again(patch: MonkeyPatch) -> None:
    """Though it is not idempotent and no retry is left."""
    may_repeat = step_failure._may_repeat
    patch.setattr(step_failure, "_may_repeat", lambda *given: given[2] == "lost" or may_repeat(*given))


def run_obeys_whoever_held_it_once(patch: MonkeyPatch) -> None:
    """Nobody looks at the epoch of a report."""
    patch.setattr(decide, "_must_hold", lambda *_: None)


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


def executor_gives_up_output_that_it_cannot_publish(patch: MonkeyPatch) -> None:
    """One try, and what is not taken then is gone."""

    async def published(publisher: OutputPublisher, partition: Partition, batch: Sequence[OutputChunk]) -> int:
        with suppress(LogUnavailable, ResultUnknown):
            return await publisher._records.publish(partition, batch)
        return 0

    patch.setattr(OutputPublisher, "_published", published)


def executor_numbers_output_anew_when_it_publishes_it_again(patch: MonkeyPatch) -> None:
    """What may have been written already gets other numbers, so that nobody can tell that it came twice."""

    async def published(publisher: OutputPublisher, partition: Partition, batch: Sequence[OutputChunk]) -> int:
        while True:
            try:
                return await publisher._records.publish(partition, batch)
            except (LogUnavailable, ResultUnknown):
                batch = [replace(chunk, sequence=chunk.sequence + 1) for chunk in batch]
                await publisher._sleep(RETRY_S)

    patch.setattr(OutputPublisher, "_published", published)


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


def sweeper_takes_those_for_silent_who_cannot_speak(patch: MonkeyPatch) -> None:
    """It does not ask whether the log takes heartbeats."""
    patch.setattr(LeaseWatch, "_could_speak", lambda *_: True)


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
    owner_decides_before_it_has_caught_up: _by(*_FORKED, "targets_saw_only_intents", seed=13),
    owner_is_not_fenced: _by(*_FORKED, seed=4),
    owner_keeps_its_state_after_a_doubtful_commit: _by(*_FORKED, seed=4),
    owner_forgets_outcomes: _by("told_alike", "unknown_is_one_or_none", "ok_is_there_once", seed=0),
    owner_answers_before_its_commit: _by("ok_is_there_once", "told_alike", "outcomes_agree_with_events", seed=0),
    owner_loses_the_dedupe_window_at_restart: _by("told_alike", "unknown_is_one_or_none", "ok_is_there_once", seed=0),
    owner_swallows_commands: _by("every_command_is_decided_once", seed=0),
    owner_writes_no_rejections: _by("every_command_is_decided_once", seed=0),
    owner_ignores_the_expected_version: _by("expected_versions_are_kept", seed=3),
    owner_says_that_no_run_is_unfinished: _by("overlaps_are_as_the_job_says", seed=1),
    owner_writes_events_in_its_own_name: _by("events_are_of_their_commands", seed=0),
    whoever_uses_an_id_again_is_told_of_the_first_command: _by("what_is_told_is_of_that_command", seed=0),
    run_begins_a_lost_step_again: _by("attempts_are_as_the_job_says", seed=6),
    run_obeys_whoever_held_it_once: _by("only_the_holder_changes_a_run", seed=4),
    executor_acts_before_its_intent_is_accepted: _by("targets_saw_only_intents", seed=4),
    executor_repeats_a_step_of_unknown_end: _by("targets_saw_each_attempt_once", seed=27),
    executor_forgets_to_report_what_it_killed: _by("runs_end", seed=0),
    executor_gives_up_output_that_it_cannot_publish: _by("output_is_what_targets_wrote", seed=13),
    executor_numbers_output_anew_when_it_publishes_it_again: _by("output_is_what_targets_wrote", seed=13),
    sweeper_believes_in_everyone: _by("runs_end", seed=5),
    sweeper_judges_by_wall_clock: _by("the_living_keep_their_claims", seed=4),
    sweeper_takes_those_for_silent_who_cannot_speak: _by("the_living_keep_their_claims", seed=13),
    projections_move_twice: _by("read_models_are_the_log", seed=2),
    projections_save_their_position_in_another_transaction: _by("read_models_are_the_log", seed=1),
    projection_keeps_the_first_title: _by("rows_say_what_the_log_says", seed=4),
    projection_keeps_the_counts_before_the_end: _by("rows_say_what_the_log_says", seed=4),
    projection_shows_failed_steps_as_succeeded: _by("rows_say_what_the_log_says", seed=4),
    projection_keeps_the_first_piece_of_output: _by("rows_say_what_the_log_says", seed=0),
    audit_index_lacks_cancellations: _by("rows_say_what_the_log_says", seed=4),
}

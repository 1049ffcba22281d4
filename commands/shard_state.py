"""What does a shard know? Staged inside a transaction, then committed or discarded with it (after Kafka's CoordinatorRuntime).

Command 7 of a transaction sees what command 3 did, and what the transaction before it did, which is sealed while it is being
committed: when that fails, both are discarded. What is committed waits here until it is saved to the state store; of the rest
only the most recently used stays in memory, and `needs` says what has to be loaded before a batch can be decided.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from commands.cache import Cache
from commands.deciders import TABLE
from commands.settle import Settled, StreamState
from commands.state_form import (
    outcome_from_bytes,
    outcome_to_bytes,
    roster_from_bytes,
    roster_to_bytes,
    state_from_bytes,
    state_to_bytes,
)
from commands.state_store import Changes, Found, Mark, Needs
from domain.audit.hash_chain import GENESIS
from domain.identity import is_listed, kind_of, listed_name, partition_key
from schemas.outcome import Outcome
from schemas.position import Partition, Position
from schemas.topics import EVENT_TOPIC, OUTCOMES
from schemas.wire import topic_of


@dataclass(slots=True)
class _Staged:
    streams: dict[str, StreamState] = field(default_factory=dict)
    rosters: dict[str, tuple[str, ...]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    outcomes: dict[UUID, Outcome] = field(default_factory=dict)


class ShardState:
    """All that one shard's decisions rest on. `mark` is where its snapshots stand; `capacity` bounds the streams in memory."""

    def __init__(self, shard: int, mark: Mark, capacity: int) -> None:
        self.shard = shard
        self._positions = dict(mark.positions)
        self._heads = dict(mark.heads)
        self._streams: Cache[StreamState] = Cache(capacity)
        self._rosters: Cache[tuple[str, ...]] = Cache(capacity)
        self._unsaved_outcomes: dict[UUID, Outcome] = {}
        self._loaded_outcomes: dict[UUID, Outcome] = {}
        self._sealed, self._staged = _Staged(), _Staged()
        self._outcomes_seen: int | None = None
        self._dirty = False

    # --- load what a batch needs --------------------------------------------------------------------------------------

    def needs(self, streams: Iterable[str], command_ids: Iterable[UUID]) -> Needs:
        """What is neither in memory nor loaded of these streams, those they live with, and the outcomes of these commands."""
        wanted: dict[str, None] = {}
        rosters: dict[str, None] = {}
        for stream in streams:
            if kind_of(stream) in EVENT_TOPIC:
                key = partition_key(stream)
                wanted[stream] = wanted[key] = rosters[key] = None
        return Needs(
            [stream for stream in wanted if stream not in self._streams],
            [key for key in rosters if key not in self._rosters],
            [i for i in command_ids if i not in self._unsaved_outcomes],
        )

    def admit(self, needs: Needs, found: Found) -> None:
        """Take in what was loaded; what was not found does not exist. Raises `StateStoreFailed`."""
        for stream in needs.streams:
            kept = found.streams.get(stream)
            self._streams.admit(stream, state_from_bytes(stream, kept) if kept else _unborn(stream))
        for key in needs.rosters:
            raw = found.rosters.get(key)
            self._rosters.admit(key, roster_from_bytes(raw) if raw else ())
        self._loaded_outcomes = {i: outcome_from_bytes(raw) for i, raw in found.outcomes.items()}

    # --- what settle sees ---------------------------------------------------------------------------------------------

    def remembered(self, command_id: UUID) -> Outcome | None:
        """The outcome remembered under a command id, staged ones included."""
        return (
            self._staged.outcomes.get(command_id)
            or self._sealed.outcomes.get(command_id)
            or self._unsaved_outcomes.get(command_id)
            or self._loaded_outcomes.get(command_id)
        )

    def stream(self, stream: str) -> StreamState:
        """A stream that was loaded, as the transaction leaves it so far."""
        return self._staged.streams.get(stream) or self._sealed.streams.get(stream) or self._streams[stream]

    def unfinished(self, key: str) -> tuple[str, ...]:
        """The ids of the unfinished streams that live with `key`, in the order they began."""
        for layer in (self._staged, self._sealed):
            if (staged := layer.rosters.get(key)) is not None:
                return staged
        return self._rosters[key]

    def head(self, topic: str) -> str:
        """The hash of the last event in an event topic."""
        return self._staged.heads.get(topic) or self._sealed.heads.get(topic) or self._heads.get(topic, GENESIS)

    # --- stage, seal, commit, discard -----------------------------------------------------------------------------------

    def stage(self, settled: Settled) -> None:
        """Take in what one command caused, for the rest of this transaction."""
        if settled.repeated:
            return
        self._staged.outcomes[settled.outcome.command_id] = settled.outcome
        if settled.after is not None:
            self._stage_stream(settled.events[-1].stream, settled.after, settled.events[-1].hash)

    def _stage_stream(self, stream: str, after: StreamState, head: str) -> None:
        if is_listed(stream):
            self._stage_roster(partition_key(stream), stream, after)
        self._staged.streams[stream] = after
        self._staged.heads[topic_of(stream)] = head

    def _stage_roster(self, key: str, stream: str, after: StreamState) -> None:
        decider, before = TABLE[kind_of(stream)].decider, self.stream(stream)

        def entry(of: StreamState) -> str | None:
            listed = of.version > 0 and not decider.is_finished(of.state)
            return decider.listed_as(of.state, listed_name(stream)) if listed else None

        was, now = entry(before), entry(after)
        if was != now:
            others = tuple(other for other in self.unfinished(key) if other != was)
            self._staged.rosters[key] = others if now is None else (*others, now)

    def seal(self) -> None:
        """What is staged goes into a transaction now; what is staged from here on comes behind it."""
        self._sealed, self._staged = self._staged, _Staged()

    def commit(self, positions: Iterable[Position]) -> None:
        """The transaction is in the log, its events of this shard at `positions`: what was sealed is so."""
        self._keep(self._sealed)
        self._sealed = _Staged()
        for topic, shard, offset in positions:
            self._positions[Partition(topic, shard)] = offset + 1
        if self._outcomes_seen is not None:
            # That this commit came through shows that no other owner wrote the outcomes before that end.
            self._positions[Partition(OUTCOMES, self.shard)] = self._outcomes_seen
            self._outcomes_seen = None

    def discard(self) -> None:
        """The transaction is not in the log: nothing of it ever was, nor of what is staged behind it."""
        self._sealed, self._staged = _Staged(), _Staged()

    def _keep(self, staged: _Staged) -> None:
        for stream, state in staged.streams.items():
            self._streams.change(stream, state)
        for key, roster in staged.rosters.items():
            self._rosters.change(key, roster)
        self._heads.update(staged.heads)
        self._unsaved_outcomes.update(staged.outcomes)
        self._dirty = self._dirty or bool(staged.outcomes or staged.streams)

    # --- replay -------------------------------------------------------------------------------------------------------

    def replay_event(self, stream: str, after: StreamState, head: str) -> None:
        """Take in an event that is in the log already: the stream's state after it, and its hash."""
        self._stage_stream(stream, after, head)

    def replay_outcome(self, outcome: Outcome) -> None:
        """Take in an outcome that is in the log already; the first one under an id stays."""
        if outcome.command_id not in self._unsaved_outcomes:
            self._staged.outcomes.setdefault(outcome.command_id, outcome)

    def replayed(self, positions: Mapping[Partition, int]) -> None:
        """Everything before `positions` was taken in."""
        self._keep(self._staged)
        self._staged = _Staged()
        self._dirty = self._dirty or positions != self._positions
        self._positions.update(positions)

    # --- save ---------------------------------------------------------------------------------------------------------

    @property
    def is_dirty(self) -> bool:
        """Whether there is anything to save."""
        return self._dirty

    @property
    def entries(self) -> int:
        """How many streams, rosters and outcomes are in memory."""
        return len(self._streams) + len(self._rosters) + len(self._unsaved_outcomes) + len(self._loaded_outcomes)

    def changes(self) -> Changes:
        """What is committed and not saved yet."""
        return Changes(
            {stream: state_to_bytes(stream, state) for stream, state in self._streams.unsaved.items()},
            {key: roster_to_bytes(roster) for key, roster in self._rosters.unsaved.items()},
            {i: outcome_to_bytes(outcome) for i, outcome in self._unsaved_outcomes.items()},
            Mark(dict(self._positions), dict(self._heads)),
        )

    def saved(self) -> None:
        """The last `changes` are on disk: what is not used any more may leave memory."""
        self._streams.saved()
        self._rosters.saved()
        self._unsaved_outcomes = {}
        self._dirty = False
        self.trim()

    def outcomes_seen(self, end: int) -> None:
        """`end` was the end of the shard's outcomes after the last commit; it counts once the next commit confirms ownership."""
        self._outcomes_seen = end

    def trim(self) -> None:
        """Drop what a finished batch had loaded beyond the bounds."""
        self._loaded_outcomes = {}
        self._streams.trim()
        self._rosters.trim()


def _unborn(stream: str) -> StreamState:
    return StreamState(0, TABLE[kind_of(stream)].decider.initial_state)

"""What does a decider do? `given(stream, [events]).when(command).then([events])`, exact and ordered.

Every example is also checked against the table of consequences: what a command causes or is rejected with must be announced
there, and `fold` must neither change the state it is given nor depend on how the events are cut into calls.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from commands.deciders import TABLE
from domain.decider import Companion, Decider
from domain.identity import kind_of
from domain.rejection import Rejection
from schemas.command_types import TABLE as COMMANDS
from schemas.consequences import TABLE as CONSEQUENCES
from schemas.event_types import TABLE as EVENTS


def decider_of(stream: str) -> Decider[Any, Any, Any]:
    return TABLE[kind_of(stream)].decider


def folded(stream: str, events: Sequence[Any]) -> Any:
    """The state after `events`, and the same whether folded at once or one by one, without changing any state on the way."""
    decider = decider_of(stream)
    state = decider.initial_state
    for event in events:
        assert type(event).__name__ in EVENTS, f"{event} is no event that can be stored"
        before, kept = state, deepcopy(state)
        state = decider.fold(before, [event])
        assert before == kept, f"folding {event} changed the state it was given"
    assert decider.fold(decider.initial_state, events) == state, "folding at once and one by one differ"
    return state


def decided(stream: str, command: Any, state: Any, companion: Companion | None = None) -> Sequence[Any]:
    """What the decider says, checked against the table of consequences; raises its rejection."""
    assert COMMANDS[type(command).__name__].aggregate == kind_of(stream), f"{command} is not for {stream}"
    allowed = CONSEQUENCES[type(command)]
    try:
        events = decider_of(stream).decide(command, state, companion)
    except Rejection as rejection:
        assert rejection.code in allowed.rejections, f"{type(command).__name__} → {rejection.code} is not in the table"
        raise
    for event in events:
        assert type(event) in allowed.events, f"{type(command).__name__} → {type(event).__name__} is not in the table"
    return events


def beside(stream: str, events: Sequence[Any], unfinished: tuple[str, ...] = ()) -> Companion:
    """A companion as the owner hands it to a decider: the state of a stream of the same shard."""
    return Companion(folded(stream, events), unfinished)


@dataclass(frozen=True)
class When:
    stream: str
    given: Sequence[Any]
    command: Any
    companion: Companion | None

    def then(self, expected: Sequence[Any]) -> Sequence[Any]:
        """Exactly these events, in this order; they can also be folded. Returns the whole history for a next example."""
        events = list(self._decided())
        assert events == list(expected), f"\ndecided  {events}\nexpected {list(expected)}"
        history = [*self.given, *events]
        folded(self.stream, history)
        return history

    def then_nothing(self) -> None:
        """All was so already."""
        self.then([])

    def then_rejected(self, code: str, *fields: str) -> Rejection:
        """Rejected with this code and exactly these fields at fault, in this order."""
        try:
            events = self._decided()
        except Rejection as rejection:
            found = (rejection.code, tuple(error.field for error in rejection.errors))
            assert found == (code, fields), f"rejected with {found}: {rejection}"
            return rejection
        raise AssertionError(f"not rejected but {events}")

    def _decided(self) -> Sequence[Any]:
        state = folded(self.stream, self.given)
        kept = deepcopy(state)
        try:
            return decided(self.stream, self.command, state, self.companion)
        finally:
            assert state == kept, f"deciding {self.command} changed the state"


@dataclass(frozen=True)
class Given:
    stream: str
    events: Sequence[Any]
    companion: Companion | None = None

    def when(self, command: Any) -> When:
        return When(self.stream, self.events, command, self.companion)


def given(stream: str, events: Sequence[Any], companion: Companion | None = None) -> Given:
    """A stream's history, and its companion if the decider may see one."""
    return Given(stream, events, companion)

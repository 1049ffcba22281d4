"""What is an aggregate? A pure decider (after Jérémie Chassaing's "Functional event sourcing decider").

`decide` answers a command with the events it causes or raises a `Rejection`; `fold` turns a state and events into the next
state. Neither reads a clock, makes an id or touches the world: all of that comes in with the command.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Companion:
    """What a decider may see beside its own stream, read-only: a stream of the same shard and who lives with it.

    `state` is the companion stream's state; `unfinished` are the ids of the streams that live with its partition key and are not
    finished, in the order they began (a job's unfinished runs; the administrators who may act, as `linked/<who>/<name>` the
    users of an identity provider, as `role/<name>` the roles in force).
    """

    state: Any
    unfinished: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decider(Generic[C, S, E]):
    """One aggregate type's rules.

    `decide(command, state, companion)` returns the events in order; an empty sequence means "already so".
    `fold(state, events)` must not change `state`; it may mutate a private copy for the length of one call.
    `companion(command)` names the companion stream, or None. `is_finished(state)` takes the stream off the list that those
    who live with it see; `listed_as(state, name)` is what it is called there, by default its name.
    """

    initial_state: S
    decide: Callable[[C, S, Companion | None], Sequence[E]]
    fold: Callable[[S, Sequence[E]], S]
    companion: Callable[[C], str | None] = lambda command: None
    is_finished: Callable[[S], bool] = lambda state: False
    listed_as: Callable[[S, str], str] = lambda state, name: name

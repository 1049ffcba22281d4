"""Is a quickly made dataclass what it would be without: the same arguments, the same refusals, frozen?"""

import inspect
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import Any
from uuid import UUID

import pytest

import commands.settle
import schemas.command_envelope
import schemas.event_envelope
import schemas.log
import schemas.outcome
import schemas.wire
from schemas.quickly_made import quickly_made

_KINDS = [
    schemas.event_envelope.EventEnvelope,
    schemas.command_envelope.CommandEnvelope,
    schemas.outcome.Outcome,
    schemas.outcome.Accepted,
    schemas.wire.WireRecord,
    schemas.log.Recorded,
    schemas.log.TakenCommand,
    commands.settle.StreamState,
    commands.settle.Settled,
]


@dataclass(frozen=True, slots=True)
class _Plain:
    first: int
    second: tuple[int, ...] = ()
    written: bytes | None = field(default=None, init=False, compare=False, repr=False)
    named: str = field(default="so", kw_only=True)
    needed: str = field(kw_only=True)


@quickly_made
@dataclass(frozen=True, slots=True)
class _Quick:
    first: int
    second: tuple[int, ...] = ()
    written: bytes | None = field(default=None, init=False, compare=False, repr=False)
    named: str = field(default="so", kw_only=True)
    needed: str = field(kw_only=True)


@pytest.mark.parametrize("arguments", [((1,), {"needed": "a"}), ((1, (2,)), {"needed": "a", "named": "b"})])
def test_it_holds_what_it_would_hold_without(arguments: tuple[Any, Any]) -> None:
    positional, named = arguments
    assert asdict(_Quick(*positional, **named)) == asdict(_Plain(*positional, **named))


@pytest.mark.parametrize(
    "arguments", [((), {"needed": "a"}), ((1,), {}), ((1, (), "x"), {"needed": "a"}), ((1,), {"needed": "a", "x": 1})]
)
def test_it_refuses_the_arguments_that_it_would_refuse_without(arguments: tuple[Any, Any]) -> None:
    positional, named = arguments
    for kind in (_Plain, _Quick):
        with pytest.raises(TypeError):
            kind(*positional, **named)


def test_it_is_told_apart_compared_hashed_and_changed_as_without() -> None:
    made = _Quick(1, needed="a")
    assert type(made) is _Quick
    assert made == _Quick(1, needed="a")
    assert made != _Quick(2, needed="a")
    assert hash(made) == hash(_Quick(1, needed="a"))
    assert repr(made) == "_Quick(first=1, second=(), named='so', needed='a')"
    assert replace(made, first=2) == _Quick(2, needed="a")


@pytest.mark.parametrize("kind", _KINDS, ids=lambda kind: kind.__name__)
def test_nothing_of_it_can_be_changed(kind: Any) -> None:
    made = kind(**{each.name: UUID(int=1) for each in fields(kind) if each.init})
    for each in fields(kind):
        with pytest.raises(FrozenInstanceError):
            setattr(made, each.name, None)
        with pytest.raises(FrozenInstanceError):
            delattr(made, each.name)
    assert not hasattr(made, "__dict__")


@pytest.mark.parametrize("kind", _KINDS, ids=lambda kind: kind.__name__)
def test_its_constructor_takes_its_fields_in_their_order(kind: Any) -> None:
    taken = list(inspect.signature(kind).parameters.values())
    given = [each for each in fields(kind) if each.init]
    in_order = [each.name for each in given if not each.kw_only] + [each.name for each in given if each.kw_only]
    assert [each.name for each in taken] == in_order
    assert {each.name for each in taken if each.kind is each.KEYWORD_ONLY} == {each.name for each in given if each.kw_only}


def test_what_it_could_not_make_the_same_is_refused() -> None:
    @dataclass(frozen=True)
    class WithoutSlots:
        first: int

    @dataclass(frozen=True, slots=True)
    class MadeAnew:
        first: list[int] = field(default_factory=list)

    @dataclass(frozen=True, slots=True)
    class Checked:
        first: int

        def __post_init__(self) -> None:
            assert self.first

    @dataclass(slots=True)
    class NotFrozen:
        first: int

    @dataclass(frozen=True, slots=True)
    class NeverSet:
        first: int = field(init=False)

    @dataclass(frozen=True, slots=True)
    class Inheriting(MadeAnew):
        second: int = 0

    @dataclass(frozen=True, slots=True, weakref_slot=True)
    class Referable:
        first: int

    class NoDataclass:
        pass

    for kind in (WithoutSlots, MadeAnew, Checked, NotFrozen, NeverSet, Inheriting, Referable, NoDataclass):
        with pytest.raises(TypeError):
            quickly_made(kind)

"""What is in one transaction? As many commands of a batch as fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from commands.settle import Settled
from schemas.event_envelope import EventEnvelope
from schemas.log import TakenCommand
from schemas.outcome import Accepted, Outcome

_HEADERS = 1_000
_EVENT_ID = 40
"""Roughly what an event's or outcome's record takes beside its payload, in bytes; only bounds rest on it."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """The settled commands of one transaction, in order, and about how many bytes they take in the log."""

    settled: Sequence[Settled]
    size: int

    @property
    def events(self) -> list[EventEnvelope]:
        """All events, in the order they were decided."""
        return [event for one in self.settled for event in one.events]

    @property
    def outcomes(self) -> list[Outcome]:
        """One outcome a command."""
        return [one.outcome for one in self.settled]


def fill(commands: Sequence[TakenCommand], settle: Callable[[TakenCommand], Settled], max_bytes: int) -> Transaction:
    """Settle commands in order until there are no more or the transaction takes `max_bytes`; at least one."""
    settled: list[Settled] = []
    size = 0
    for command in commands:
        one = settle(command)
        settled.append(one)
        size += size_of(one)
        if size >= max_bytes:
            break
    return Transaction(settled, size)


def size_of(settled: Settled) -> int:
    """About how many bytes one command's events and outcome take in the log."""
    result = settled.outcome.result
    told = len(result.event_ids) * _EVENT_ID if isinstance(result, Accepted) else len(result.message) * 2
    return _HEADERS + told + sum(len(event.payload) + _HEADERS for event in settled.events)

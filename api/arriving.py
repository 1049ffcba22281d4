"""Which bodies may go on arriving? They take no place among the requests that are answered, so nobody is shut out by those that
never end; but they take memory, and so there are bounds of their own.

Whoever sends as one does is done long before `slow_after_s`. From then on a body counts for its caller's address, and what is
beyond `max_slow` there is refused: that address alone is cut. When all together hold more than `max_bytes`, of those of the
address that holds most the one goes that has been arriving for the longest time: who sends much pushes out nobody else.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from api.caller_address import counted_as
from api.problem_details import Problem


@dataclass(eq=False, slots=True)
class Arrival:
    """One body on its way: what has arrived of it, and until when it is waited for."""

    address: str
    deadline: asyncio.Timeout
    body: bytearray = field(default_factory=bytearray)
    is_slow: bool = False
    is_refused: bool = False


class Arriving:
    """All bodies that are on their way to one process. Times in seconds."""

    def __init__(self, max_bytes: int, max_slow: int, slow_after_s: float) -> None:
        self._max_bytes, self._max_slow, self._slow_after_s = max_bytes, max_slow, slow_after_s
        self._bytes = 0
        self._all: dict[Arrival, None] = {}
        self._slow: dict[str, int] = {}
        self._held: dict[str, int] = {}

    @property
    def count(self) -> int:
        """How many bodies are on their way."""
        return len(self._all)

    @contextmanager
    def from_address(self, address: str, deadline: asyncio.Timeout) -> Iterator[Arrival]:
        """A body from there, within `deadline`: that is over at once for one that may not go on, and `refusal_of` says why."""
        arrival = Arrival(counted_as(address), deadline)
        self._all[arrival] = None
        timer = asyncio.get_running_loop().call_later(self._slow_after_s, self._late, arrival)
        try:
            yield arrival
        finally:
            timer.cancel()
            self._forget(arrival)

    def took(self, arrival: Arrival, part: bytes) -> None:
        """A part of it has arrived."""
        arrival.body += part
        if arrival in self._all:
            self._hold(arrival.address, len(part))
        while self._bytes > self._max_bytes:
            most = max(self._held, key=self._held.__getitem__)
            self._cut(next(each for each in self._all if each.address == most and each.body))

    def _hold(self, address: str, more: int) -> None:
        self._bytes += more
        self._held[address] = self._held.get(address, 0) + more
        if not self._held[address]:
            del self._held[address]

    def _late(self, arrival: Arrival) -> None:
        """What came while this process was busy itself is taken first: that is not the caller's slowness."""
        asyncio.get_running_loop().call_soon(self._is_slow_now, arrival)

    def _is_slow_now(self, arrival: Arrival) -> None:
        if arrival not in self._all:
            return
        if self._slow.get(arrival.address, 0) >= self._max_slow:
            arrival.is_refused = True
            self._cut(arrival)
        else:
            arrival.is_slow = True
            self._slow[arrival.address] = self._slow.get(arrival.address, 0) + 1

    def _cut(self, arrival: Arrival) -> None:
        self._forget(arrival)
        if not arrival.deadline.expired():
            arrival.deadline.reschedule(asyncio.get_running_loop().time())

    def _forget(self, arrival: Arrival) -> None:
        if arrival not in self._all:
            return
        del self._all[arrival]
        self._hold(arrival.address, -len(arrival.body))
        if arrival.is_slow:
            self._slow[arrival.address] -= 1
            if not self._slow[arrival.address]:
                del self._slow[arrival.address]


def refusal_of(arrival: Arrival) -> Problem:
    """Why a body was not waited for any longer."""
    if arrival.is_refused:
        headers = {"Retry-After": "1", "Connection": "close"}
        return Problem("rate_limited", "too many requests from this address do not come to their end", headers=headers)
    return Problem("receive_timeout", headers={"Connection": "close"})

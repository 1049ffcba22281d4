"""How soon may somebody try a password again?

Failures are counted by account *and* address, and by address alone (spraying); never by account alone, so nobody can lock out
somebody at another address. The first few are free, then each costs a delay twice as long as the one before, up to a minute.
Whoever shares an address with a guesser that never rests is held up there: from outside the two look the same.

What an attempt comes to is known only when it is over. Until then it takes the place of a failure: of many at once no more are
looked at than may fail.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

WINDOW_S = 900
"""How long failures are remembered after the last one."""

UNDER_WAY_S = 60
"""How long an attempt that nobody ends is taken to be under way: its process is gone."""

FREE_BY_ACCOUNT, FREE_BY_ADDRESS = 5, 50
LONGEST_DELAY_S = 60


class CannotCount(Exception):
    """Failures can be neither counted nor asked for at the moment."""


class SignInAttempts(Protocol):
    """Counts failed sign-ins under a key for `WINDOW_S` seconds after the last, and attempts under way. Raises `CannotCount`."""

    async def failures(self, key: str) -> tuple[int, float]:
        """How many there were, and how many seconds ago the last one was."""
        ...

    async def begin(self, most: Mapping[str, int]) -> str | None:
        """Put an attempt under way under all these keys: its name. None, and nothing done, where failures and attempts under way
        come to as many as said under one of them; the look and the deed are one.
        """
        ...

    async def end(self, attempt: str, failed: Mapping[str, bool]) -> None:
        """An attempt is over, under all these keys: it counts where it `failed`, also one that was begun elsewhere."""
        ...

    async def forget(self, key: str) -> None:
        """Somebody signed in: their failures are forgotten."""
        ...


class TooSoon(Exception):
    """An attempt may not be made before `wait_s` seconds from now."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"not before {wait_s} s")
        self.wait_s = wait_s


@dataclass(slots=True)
class Attempt:
    """An attempt under way. What broke off says nothing about the password."""

    came_to: Literal["nothing", "failure", "success"] = "nothing"


class SignInLimit:
    """Lets attempts be made. The first of these that can count is asked, each time; the last always can."""

    def __init__(self, *counted_by: SignInAttempts) -> None:
        self._counted_by = counted_by
        self._is_well = True
        self._here: Counter[str] = Counter()

    @asynccontextmanager
    async def attempt(self, account: str, address: str) -> AsyncIterator[Attempt]:
        """An attempt that is under way inside; what it came to is said there. Raises `TooSoon`."""
        keys = keys_of(account, address)
        with self._few_of(address):
            counting, name = await self._first_that_can(lambda attempts: _begun(attempts, keys))
            made = Attempt()
            try:
                yield made
            finally:
                failed = dict.fromkeys(keys, made.came_to == "failure")
                try:  # where it began: elsewhere nobody knows of it, and its place there would stay taken
                    await counting.end(name, failed)
                except CannotCount:
                    await self._counted_by[-1].end(name, failed)
                if made.came_to == "success":
                    await self._first_that_can(lambda attempts: attempts.forget(next(iter(keys))))

    @contextmanager
    def _few_of(self, address: str) -> Iterator[None]:
        """No more than may fail of an address are here at all: who counts them may be slow, and each holds up other requests."""
        if self._here[address] >= FREE_BY_ADDRESS:
            raise TooSoon(1)
        self._here[address] += 1
        try:
            yield
        finally:
            self._here[address] -= 1
            self._here += Counter()

    async def _first_that_can(self, ask: Callable[[SignInAttempts], Awaitable[T]]) -> tuple[SignInAttempts, T]:
        """Who could, and the answer."""
        *together, alone = self._counted_by
        for attempts in together:
            try:
                answer = await ask(attempts)
            except CannotCount as error:
                if self._is_well:
                    log.warning("failed sign-ins count for this process alone: %s", error)
                self._is_well = False
            else:
                self._is_well = True
                return attempts, answer
        return alone, await ask(alone)


def keys_of(account: str, address: str) -> dict[str, int]:
    """What a sign-in is counted under, and how many failures are free there; by account first. No user's name is longer."""
    return {f"account:{address}:{account[:100]}": FREE_BY_ACCOUNT, f"address:{address}": FREE_BY_ADDRESS}


def delay_after(failures: int, free: int) -> int:
    """How many seconds after the last failure the next attempt is looked at."""
    return 0 if failures < free else min(LONGEST_DELAY_S, 1 << min(failures - free, 6))


async def _begun(attempts: SignInAttempts, keys: Mapping[str, int]) -> str:
    """The name of an attempt that may be made now. Of those that waited for the end of one delay, one may."""
    longest, most = 0.0, dict[str, int]()
    for key, free in keys.items():
        count, age = await attempts.failures(key)
        longest = max(longest, delay_after(count, free) - age)
        most[key] = max(free, count + 1)
    if longest > 0:
        raise TooSoon(-int(-longest // 1))
    name = await attempts.begin(most)
    if name is None:
        raise TooSoon(1)
    return name

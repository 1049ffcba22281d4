"""Does something hold before a deadline? Waits for a condition, never for luck.

A deadline is there for what never comes to hold: how long it is costs nothing where it holds early, and a machine may be slow.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Result = TypeVar("Result")

WITHIN_S = 60.0


def eventually(check: Callable[[], Result], within: float = WITHIN_S, every: float = 0.05) -> Result:
    """What `check` returns, as soon as it is true or, for None, passes without an `AssertionError`.

    `check` either asserts and returns nothing (or a true value), or returns a false value other than None to be asked again.
    After `within` seconds its last `AssertionError` is raised, or one that names what never became true.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            result = check()
            if result is None or result:
                return result
            failure = AssertionError(f"still {result!r} after {within:g} s: {_named(check)}")
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure
        time.sleep(every)


async def eventually_async(check: Callable[[], Awaitable[Result]], within: float = WITHIN_S, every: float = 0.05) -> Result:
    """The same for a coroutine function; the loop stays free in between."""
    deadline = time.monotonic() + within
    while True:
        try:
            result = await check()
            if result is None or result:
                return result
            failure = AssertionError(f"still {result!r} after {within:g} s: {_named(check)}")
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure
        await asyncio.sleep(every)


def _named(check: object) -> str:
    return getattr(check, "__qualname__", repr(check))

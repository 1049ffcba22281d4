"""How soon may somebody try a password again?

Failures are counted by account *and* address, and by address alone (spraying); never by account alone, so nobody can lock out
somebody at another address. The first few are free, then each costs a delay twice as long as the one before, up to a minute.
Whoever shares an address with a guesser that never rests is held up there: from outside the two look the same.
"""

from typing import Protocol

WINDOW_S = 900
"""How long failures are remembered after the last one."""

FREE_BY_ACCOUNT, FREE_BY_ADDRESS = 5, 50
LONGEST_DELAY_S = 60


class SignInAttempts(Protocol):
    """Counts failed sign-ins under a key for `WINDOW_S` seconds after the last. Never raises: what it cannot count is lost."""

    async def failed(self, key: str) -> int:
        """Count one failure: how many there are now, 0 when that is not known."""
        ...

    async def failures(self, key: str) -> tuple[int, float]:
        """How many there were, and how many seconds ago the last one was."""
        ...

    async def forget(self, key: str) -> None:
        """Somebody signed in: their failures are forgotten."""
        ...


def keys_of(account: str, address: str) -> dict[str, int]:
    """What a sign-in is counted under, and how many failures are free there."""
    return {f"account:{address}:{account}": FREE_BY_ACCOUNT, f"address:{address}": FREE_BY_ADDRESS}


def delay_after(failures: int, free: int) -> int:
    """How many seconds after the last failure the next attempt is looked at."""
    return 0 if failures < free else min(LONGEST_DELAY_S, 1 << min(failures - free, 6))


async def begin(attempts: SignInAttempts, account: str, address: str) -> int:
    """How many seconds an attempt is to wait from now. With 0 it may be made, and counts as a failure of the account until it is
    known to be none: of many at once only the free ones are looked at.
    """
    seen, longest = list[int](), 0.0
    keys = keys_of(account, address)
    for key, free in keys.items():
        count, age = await attempts.failures(key)
        seen.append(count)
        longest = max(longest, delay_after(count, free) - age)
    if longest > 0:
        return -int(-longest // 1)
    now = await attempts.failed(next(iter(keys)))
    return delay_after(now - 1, FREE_BY_ACCOUNT) if now > seen[0] + 1 else 0

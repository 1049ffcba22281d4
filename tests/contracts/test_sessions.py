"""What every session store, attempt counter and carrier of hints holds to, in memory and on Redis."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio

from api.sessions import Session, SessionsUnavailable, hash_of
from api.sign_in_limit import FREE_BY_ACCOUNT, FREE_BY_ADDRESS, CannotCount, SignInLimit, TooSoon, delay_after, keys_of
from infra.memory.sessions import MemorySessions
from infra.memory.sign_in_attempts import MemoryAttempts
from infra.memory.wakeups import MemoryWakeups
from infra.redis.connection import connect
from infra.redis.sessions import RedisSessions
from infra.redis.sign_in_attempts import RedisAttempts
from infra.redis.wakeups import RedisWakeups
from tests.support.eventually import eventually_async


class Adapters:
    def __init__(self, sessions, attempts, wakeups, redis=None):
        self.sessions, self.attempts, self.wakeups, self.redis = sessions, attempts, wakeups, redis


@pytest_asyncio.fixture(params=["memory", "redis"])
async def kept(request: pytest.FixtureRequest) -> AsyncIterator[Adapters]:
    if request.param == "memory":
        yield Adapters(MemorySessions(), MemoryAttempts(), MemoryWakeups())
        return
    redis, prefix = connect(request.getfixturevalue("redis_url")), f"test-{uuid.uuid4().hex}"
    wakeups = RedisWakeups(redis, prefix)
    hearing = asyncio.create_task(wakeups.run())
    yield Adapters(RedisSessions(redis, prefix), RedisAttempts(redis, prefix), wakeups, redis)
    hearing.cancel()
    with suppress(asyncio.CancelledError):
        await hearing
    await redis.aclose()


def session(secret: str = "s1") -> Session:
    return Session(uuid.uuid4().hex, "admin", hash_of(secret))


async def test_a_session_is_refreshed_by_the_secret_that_is_good_now(kept):
    one = session()
    await kept.sessions.begin(one)
    assert await kept.sessions.user_of(one.session_id) == "admin"
    assert await kept.sessions.refresh(one.session_id, hash_of("s1"), hash_of("s2")) == "refreshed"
    assert await kept.sessions.refresh(one.session_id, hash_of("s2"), hash_of("s3")) == "refreshed"
    for _ in range(3):
        assert await kept.sessions.refresh(one.session_id, hash_of("s2"), hash_of("s3")) == "refreshed", "within the grace"
    assert await kept.sessions.refresh(one.session_id, hash_of("s1"), hash_of("s2")) == "reused"
    assert await kept.sessions.user_of(one.session_id) is None and await kept.sessions.is_revoked(one.session_id)
    assert await kept.sessions.refresh(one.session_id, hash_of("s3"), hash_of("s4")) == "absent"


async def test_a_replaced_secret_with_another_replacement_is_reused(kept):
    one = session()
    await kept.sessions.begin(one)
    assert await kept.sessions.refresh(one.session_id, hash_of("s1"), hash_of("s2")) == "refreshed"
    assert await kept.sessions.refresh(one.session_id, hash_of("s1"), hash_of("another")) == "reused"


async def test_of_many_refreshes_at_once_one_wins_the_others_are_in_grace_and_the_session_goes_on(kept):
    one = session()
    await kept.sessions.begin(one)
    said = await asyncio.gather(*(kept.sessions.refresh(one.session_id, hash_of("s1"), hash_of("s2")) for _ in range(5)))
    assert said == ["refreshed"] * 5
    assert await kept.sessions.refresh(one.session_id, hash_of("s2"), hash_of("s3")) == "refreshed"
    assert await kept.sessions.user_of(one.session_id) == "admin"


async def test_a_revoked_session_is_known_to_be_and_an_unknown_one_is_not_revoked(kept):
    one = session()
    await kept.sessions.begin(one)
    assert not await kept.sessions.is_revoked(one.session_id)
    await kept.sessions.revoke(one.session_id)
    assert await kept.sessions.is_revoked(one.session_id) and await kept.sessions.user_of(one.session_id) is None
    assert not await kept.sessions.is_revoked("never-there") and await kept.sessions.user_of("never-there") is None


async def test_a_session_begins_once_also_of_many_at_once_and_not_again_when_it_was_revoked(kept):
    one = session()
    assert sorted(await asyncio.gather(*(kept.sessions.begin(one) for _ in range(5)))) == [False] * 4 + [True]
    assert await kept.sessions.refresh(one.session_id, hash_of("s1"), hash_of("s2")) == "refreshed"
    assert not await kept.sessions.begin(one)
    assert await kept.sessions.refresh(one.session_id, hash_of("s2"), hash_of("s3")) == "refreshed", "nothing has changed"
    await kept.sessions.revoke(one.session_id)
    assert not await kept.sessions.begin(one) and await kept.sessions.user_of(one.session_id) is None


async def test_how_long_a_session_was_not_used_is_counted_from_its_last_refresh_as_long_as_there_is_one(kept):
    one = session()
    other, asked = session(), [one.session_id, "never-there"]
    assert await kept.sessions.unused_s(asked) == {}
    await kept.sessions.begin(one)
    await asyncio.sleep(0.3)
    before = (await kept.sessions.unused_s(asked))[one.session_id]
    await kept.sessions.refresh(one.session_id, hash_of("s1"), hash_of("s2"))
    await kept.sessions.begin(other)
    after = await kept.sessions.unused_s([*asked, other.session_id])
    assert after.keys() == {one.session_id, other.session_id}
    assert all(0 <= each < before for each in after.values()) and before + 0.01 >= 0.3, "Redis counts whole milliseconds"
    await kept.sessions.revoke(one.session_id)
    assert (await kept.sessions.unused_s([*asked, other.session_id])).keys() == {other.session_id}


async def at_once(limits, names, address, came_to="failure"):
    """How many of these attempts, by turns in each of these processes and all under way together, are looked at."""
    refused, looked_at, over = list[int](), 0, asyncio.Event()

    async def one(number, name):
        nonlocal looked_at
        try:
            async with limits[number % len(limits)].attempt(name, address) as attempt:
                looked_at += 1
                if looked_at + len(refused) == len(names):
                    over.set()
                await asyncio.wait_for(over.wait(), 60)
                attempt.came_to = came_to
        except TooSoon as too_soon:
            refused.append(too_soon.wait_s)
            if looked_at + len(refused) == len(names):
                over.set()

    await asyncio.gather(*(one(number, name) for number, name in enumerate(names)))
    assert all(wait >= 1 for wait in refused)
    return looked_at


async def test_of_many_attempts_at_once_only_the_free_ones_are_looked_at(kept):
    account, address, limits = uuid.uuid4().hex, uuid.uuid4().hex, [SignInLimit(kept.attempts) for _ in range(2)]
    assert await at_once(limits, [account] * 20, address) == FREE_BY_ACCOUNT
    assert await at_once(limits, [account], address) == 0


async def test_of_many_attempts_with_many_names_at_once_from_one_address_only_the_free_ones_are_looked_at(kept):
    address, limits = uuid.uuid4().hex, [SignInLimit(kept.attempts) for _ in range(2)]
    names = [f"name-{n}" for n in range(190)]
    for came_to in ("success", "nothing"):
        assert await at_once(limits, names[:60], address, came_to) == FREE_BY_ADDRESS
    assert await kept.attempts.failures(f"address:{address}") == (0, 0.0), "neither is a failure"
    assert await at_once(limits, names, address) == FREE_BY_ADDRESS
    assert (await kept.attempts.failures(f"address:{address}"))[0] == FREE_BY_ADDRESS
    assert await at_once(limits, ["another"], address) == 0
    assert await at_once(limits, ["another"], uuid.uuid4().hex) == 1, "elsewhere"


async def test_when_a_delay_is_over_one_attempt_is_looked_at_however_many_waited(kept):
    account, address, limits = uuid.uuid4().hex, uuid.uuid4().hex, [SignInLimit(kept.attempts) for _ in range(2)]
    assert await at_once(limits, [account] * 9, address) == FREE_BY_ACCOUNT
    await asyncio.sleep(1.1)
    assert await at_once(limits, [account] * 20, address) == 1


async def test_no_more_attempts_of_an_address_than_are_free_wait_for_what_counts_them():
    class Slow(MemoryAttempts):
        async def failures(self, key):
            await counts.wait()
            return await super().failures(key)

    counts, limit = asyncio.Event(), SignInLimit(Slow())

    async def tried(address):
        async with limit.attempt(uuid.uuid4().hex, address):
            return "looked at"

    waiting = [asyncio.create_task(tried("::1")) for _ in range(FREE_BY_ADDRESS)]
    await asyncio.sleep(0)
    with pytest.raises(TooSoon):
        await asyncio.wait_for(tried("::1"), 5)
    elsewhere = asyncio.create_task(tried("::2"))
    counts.set()
    assert await asyncio.gather(elsewhere, *waiting) == ["looked at"] * (1 + FREE_BY_ADDRESS)
    assert await tried("::1") == "looked at"


async def test_failed_attempts_are_counted_and_forgotten(kept):
    key, other = uuid.uuid4().hex, uuid.uuid4().hex
    assert await kept.attempts.failures(key) == (0, 0.0)
    for _ in range(3):
        name = await kept.attempts.begin({key: 4, other: 4})
        await kept.attempts.end(name, {key: True, other: False})
    assert await kept.attempts.begin({key: 3, other: 3}) is None
    count, age = await kept.attempts.failures(key)
    assert count == 3 and 0 <= age < 60
    assert await kept.attempts.failures(other) == (0, 0.0)
    await kept.attempts.forget(key)
    assert (await kept.attempts.failures(key))[0] == 0


async def test_an_attempt_that_nobody_ends_is_under_way_for_a_while_only(kept, monkeypatch):
    if kept.redis:
        monkeypatch.setattr("infra.redis.sign_in_attempts.UNDER_WAY_S", 1)
    else:
        monkeypatch.setattr("infra.memory.sign_in_attempts.UNDER_WAY_S", 1)
    key = uuid.uuid4().hex
    assert await kept.attempts.begin({key: 1}) is not None
    assert await kept.attempts.begin({key: 1}) is None
    await asyncio.sleep(1.1)
    assert await kept.attempts.begin({key: 1}) is not None


async def test_a_hint_wakes_those_who_listen_to_its_topic(kept):
    loop = asyncio.get_running_loop()

    async def woken() -> bool:
        async with kept.wakeups.listen("run/a") as here, kept.wakeups.listen("run/b") as other:
            await other.wait(0.01)
            begin = loop.time()
            await kept.wakeups.wake(["run/a", "events"])
            await here.wait(5)
            quick = loop.time() - begin < 2
            begin = loop.time()
            await other.wait(0.2)
            return quick and loop.time() - begin > 0.15

    assert await eventually_async(woken), "once the subscription stands"


async def test_a_hint_that_came_before_the_wait_counts(kept):
    loop = asyncio.get_running_loop()

    async def counted() -> bool:
        async with kept.wakeups.listen("run/c") as waiter:
            await kept.wakeups.wake(["run/c"])
            await asyncio.sleep(0.1)
            begin = loop.time()
            await waiter.wait(5)
            return loop.time() - begin < 2

    assert await eventually_async(counted)


async def test_redis_may_lose_everything(redis_url):
    redis = connect(redis_url)
    sessions, one = RedisSessions(redis), session()
    await sessions.begin(one)
    await redis.flushdb()
    assert await sessions.refresh(one.session_id, hash_of("s1"), hash_of("s2")) == "absent"
    assert not await sessions.is_revoked(one.session_id), "access tokens go on"
    await redis.aclose()


async def test_with_redis_down_calls_end_soon_and_hints_are_only_lost():
    redis = connect("redis://127.0.0.1:1")
    sessions, attempts, wakeups, loop = (
        RedisSessions(redis),
        RedisAttempts(redis),
        RedisWakeups(redis),
        asyncio.get_running_loop(),
    )
    begin = loop.time()
    for call in (
        sessions.begin(session()),
        sessions.user_of("x"),
        sessions.unused_s(["x"]),
        sessions.refresh("x", "a", "b"),
        sessions.revoke("x"),
        sessions.is_revoked("x"),
    ):
        with pytest.raises(SessionsUnavailable):
            await call
    for call in (attempts.failures("x"), attempts.begin({"x": 1}), attempts.end("n", {"x": True}), attempts.forget("x")):
        with pytest.raises(CannotCount):
            await call
    await wakeups.wake(["run/a"])
    async with wakeups.listen("run/a") as waiter:
        await waiter.wait(0.05)
    assert loop.time() - begin < 30
    await redis.aclose()


async def test_with_redis_down_or_full_failed_sign_ins_count_for_each_process_alone_and_then_together_again(redis_url):
    gone, redis, address = connect("redis://127.0.0.1:1"), connect(redis_url), uuid.uuid4().hex
    limits = [SignInLimit(RedisAttempts(gone), MemoryAttempts())]
    assert [await at_once(limits, ["admin"], address) for _ in range(7)] == [1] * FREE_BY_ACCOUNT + [0, 0]
    assert await at_once(limits, [f"name-{n}" for n in range(60)], address) == FREE_BY_ADDRESS - FREE_BY_ACCOUNT
    limits = [SignInLimit(RedisAttempts(redis, uuid.uuid4().hex), MemoryAttempts())]
    await redis.config_set("maxmemory", 1)
    try:
        assert [await at_once(limits, ["admin"], address) for _ in range(7)] == [1] * FREE_BY_ACCOUNT + [0, 0]
    finally:
        await redis.config_set("maxmemory", 0)
    assert [await at_once(limits, ["admin"], address) for _ in range(7)] == [1] * FREE_BY_ACCOUNT + [0, 0]
    await gone.aclose()
    await redis.aclose()


async def test_an_attempt_ends_where_it_began_though_others_can_count_again_by_then():
    class Recovering(MemoryAttempts):
        async def begin(self, most):
            raise CannotCount("not yet")

    alone = MemoryAttempts()
    limit = SignInLimit(Recovering(), alone)
    for _ in range(FREE_BY_ACCOUNT + 3):
        async with limit.attempt("admin", "192.0.2.1") as attempt:
            attempt.came_to = "success"
    for _ in range(2):
        async with limit.attempt("admin", "192.0.2.1") as attempt:
            attempt.came_to = "failure"
    assert (await alone.failures(next(iter(keys_of("admin", "192.0.2.1")))))[0] == 2


def test_delays_grow_and_are_bounded():
    delays = [delay_after(failures, 5) for failures in range(20)]
    assert delays[:5] == [0] * 5 and delays == sorted(delays) and delays[5] == 1 and delays[-1] == 60

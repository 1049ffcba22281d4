"""Do API processes with one Redis count an account's requests together, and each for itself while it is gone?"""

import uuid

import pytest

from api.rate_limit import SharedBuckets
from infra.redis.connection import Failed, connect
from infra.redis.shared_limits import RedisLimits

pytestmark = pytest.mark.services


def now() -> float:
    return 1000.0


def taken(buckets: SharedBuckets, count: int) -> int:
    return sum(not buckets.take("account_writes", "alice") for _ in range(count))


async def test_what_one_process_let_through_the_other_knows_after_an_exchange(redis_url: str) -> None:
    redis, prefix = connect(redis_url), f"test-{uuid.uuid4().hex}"
    one, two = (SharedBuckets({"account_writes": 1000}, now) for _ in range(2))
    exchanging = [RedisLimits(redis, buckets, prefix) for buckets in (one, two)]
    for buckets in (one, two):
        assert taken(buckets, 1) == 1
    for exchange in (*exchanging, *exchanging):
        await exchange.exchange()
    assert taken(one, 600) == 600
    await exchanging[0].exchange()
    assert taken(two, 1) == 1
    await exchanging[1].exchange()
    assert 380 <= taken(two, 1000) <= 400
    [key] = await redis.keys(f"{prefix}:*")
    assert 0 < await redis.ttl(key) <= 120, "nothing stays in Redis"
    await redis.flushall()
    await exchanging[1].exchange()
    assert taken(two, 10) == 0, "what Redis forgot the process knows"
    await redis.aclose()


async def test_with_redis_gone_each_process_counts_for_itself() -> None:
    redis = connect("redis://127.0.0.1:9")
    buckets = SharedBuckets({"account_writes": 10}, now)
    assert taken(buckets, 5) == 5
    with pytest.raises(Failed):
        await RedisLimits(redis, buckets).exchange()
    assert taken(buckets, 10) == 5
    await redis.aclose()

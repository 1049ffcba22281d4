"""Does a stream live where Kafka's own partitioner would put its key?"""

import pytest

from domain.identity import partition_key
from schemas.partitioning import murmur2, shard_of

# from Apache Kafka's UtilsTest.testMurmur2
VECTORS = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize(("key", "hashed"), VECTORS.items())
def test_kafkas_vectors_hold(key, hashed):
    assert murmur2(key.encode()) == hashed & 0xFFFFFFFF


def test_a_shard_is_the_positive_hash_modulo_the_number_of_shards():
    for key, hashed in VECTORS.items():
        for shards in (1, 2, 12, 64, 1000):
            assert shard_of(key, shards) == (hashed & 0x7FFFFFFF) % shards


@pytest.mark.parametrize(("stream", "shard"), [("target/web-01", 4), ("job/rotate-logs", 6), ("user/admin", 11)])
def test_streams_stay_where_they_are_for_ever(stream, shard):
    assert shard_of(stream, 12) == shard


def test_a_run_lives_with_its_job():
    run = "run/rotate-logs.018f4e5c-7a3b-7c1d-9e2f-0123456789ab"
    assert partition_key(run) == "job/rotate-logs"
    assert {shard_of(run, n) == shard_of("job/rotate-logs", n) for n in range(1, 100)} == {True}

"""Which shard does a stream live in?

One function for every producer we have: librdkafka partitions by CRC32 and Java by murmur2 unless told otherwise, so the
partition is always computed here and passed explicitly.
"""

import struct
from functools import lru_cache

from domain.identity import partition_key

_REMEMBERED = 16_384
"""Streams whose shard is remembered: one command asks for it several times on its way, and a run's reports name it again."""

_LONGEST = 200
"""Longer than any stream that a command is accepted for; what a hostile record names is not remembered."""


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 (seed 0x9747b28c), unsigned 32 bits; source: org.apache.kafka.common.utils.Utils.murmur2."""
    length, m, mask = len(data), 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ length
    for word in struct.unpack_from(f"<{length >> 2}I", data):
        k = word * m & mask
        h = (h * m ^ (k ^ (k >> 24)) * m) & mask
    if rest := data[length & ~3 :]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


def shard_of(stream: str, shards: int) -> int:
    """The shard of `stream` in a log of `shards` partitions: Kafka's default rule, `toPositive(murmur2(key)) % n`."""
    return _remembered(stream, shards) if len(stream) <= _LONGEST else _computed(stream, shards)


def _computed(stream: str, shards: int) -> int:
    return (murmur2(partition_key(stream).encode()) & 0x7FFFFFFF) % shards


_remembered = lru_cache(maxsize=_REMEMBERED)(_computed)

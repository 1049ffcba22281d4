"""How do records lie in the file?

One table holds all records. Its integer key is topic number, shard and offset side by side, so a partition is one range of
keys, reading on is one range scan and appending needs no second index. Offsets are dense. A partition's newest record is never
deleted, so the key also says where the partition ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from schemas.position import Partition
from schemas.wire import WireRecord

_OFFSET_BITS = 40
_SHARD_BITS = 12

MAX_SHARDS = 1 << _SHARD_BITS

TABLES = (
    "CREATE TABLE log (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE topics (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE records (id INTEGER PRIMARY KEY, key BLOB NOT NULL, value BLOB NOT NULL, headers BLOB NOT NULL,"
    " written_ms INTEGER NOT NULL)",
    # `next` is the first id that the owner has not consumed.
    "CREATE TABLE consumed (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL)",
    "CREATE TABLE outcome_ids (command_id BLOB PRIMARY KEY, record INTEGER NOT NULL) WITHOUT ROWID",
)

FORMAT = 1
"""The number of this layout, kept in the file as `user_version`."""

Row = tuple[int, bytes, bytes, bytes, int]
"""A row of `records`."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The number of shards and of each topic, as they were when the file was made."""

    shards: int
    topics: Mapping[str, int]

    def first_id(self, partition: Partition) -> int:
        """The id of the record at offset 0."""
        return ((self.topics[partition.topic] << _SHARD_BITS) | partition.shard) << _OFFSET_BITS

    def end_id(self, partition: Partition) -> int:
        """The id after the last possible record."""
        return self.first_id(partition) + (1 << _OFFSET_BITS)

    def partitions(self) -> Sequence[Partition]:
        """Every partition of the log."""
        return [Partition(topic, shard) for topic in self.topics for shard in range(self.shards)]


def packed(headers: Sequence[tuple[str, bytes]]) -> bytes:
    """Headers as a JSON list, so that anybody's tools can read them; ISO 8859-1 stands for every byte as it is."""
    return orjson.dumps([(name, value.decode("latin-1")) for name, value in headers])


def record_of(key: bytes, value: bytes, headers: bytes) -> WireRecord:
    """The record of a row."""
    return WireRecord(key, value, tuple((name, text.encode("latin-1")) for name, text in orjson.loads(headers)))

"""Where in the log is a record?"""

from typing import NamedTuple


class Partition(NamedTuple):
    """One shard of one topic; the topic's name is without the deployment's prefix."""

    topic: str
    shard: int


class Position(NamedTuple):
    """One record: `topic/shard/offset`. Offsets grow but are not dense."""

    topic: str
    shard: int
    offset: int

    @property
    def partition(self) -> Partition:
        """The partition this position is in."""
        return Partition(self.topic, self.shard)

    def __str__(self) -> str:
        return f"{self.topic}/{self.shard}/{self.offset}"


def parse_position(text: str) -> Position:
    """The position written as `topic/shard/offset`; raises `ValueError` when it is not one."""
    topic, shard, offset = text.split("/")
    if not (shard.isascii() and shard.isdigit() and offset.isascii() and offset.isdigit()) or len(offset) > 18:
        raise ValueError(text)
    return Position(topic, int(shard), int(offset))

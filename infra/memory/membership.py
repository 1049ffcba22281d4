"""Which member owns which shard?

Shards are divided in ranges over the members in the order they joined. A shard's tenure grows whenever it is given to a
member, also to the one that had it before it left.
"""

from collections.abc import Mapping


class Membership:
    """The members of one log, known by number, and the shards each owns."""

    def __init__(self, shards: int) -> None:
        self._members: list[int] = []
        self._owner: list[int | None] = [None] * shards
        self._tenure: list[int] = [0] * shards

    def join(self, member: int) -> None:
        """Add a member and divide the shards anew."""
        self._members.append(member)
        self._divide()

    def leave(self, member: int) -> None:
        """Remove a member, if it is one, and divide the shards anew."""
        if member in self._members:
            self._members.remove(member)
            self._divide()

    def has(self, member: int) -> bool:
        """Whether `member` has joined and not left."""
        return member in self._members

    def owned_by(self, member: int) -> Mapping[int, int]:
        """The shards of a member, each with its tenure."""
        return {shard: self._tenure[shard] for shard, owner in enumerate(self._owner) if owner == member}

    def _divide(self) -> None:
        shares = len(self._members)
        for shard, before in enumerate(self._owner):
            after = self._members[shard * shares // len(self._owner)] if shares else None
            if after != before:
                self._owner[shard] = after
                self._tenure[shard] += 1

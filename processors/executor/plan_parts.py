"""How is a plan split, so that no command of it comes near the log's record limit?"""

from collections.abc import Sequence

from domain.run.messages import PlannedTarget
from schemas.payload import to_json

MAX_PART_BYTES = 450_000
"""The targets of one part as JSON; the payload of its command and of its event stay well below 500 kB."""


def parts_of(targets: Sequence[PlannedTarget], limit: int = MAX_PART_BYTES) -> list[tuple[PlannedTarget, ...]]:
    """`targets` in order, cut into parts of at most `limit` bytes each (one target at least); one empty part for none."""
    parts: list[list[PlannedTarget]] = [[]]
    room = limit
    for target in targets:
        size = len(to_json(target)) + 1
        if size > room and parts[-1]:
            parts.append([])
            room = limit
        parts[-1].append(target)
        room -= size
    return [tuple(part) for part in parts]

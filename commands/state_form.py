"""What do a shard's snapshots look like as bytes, and which software can read them?"""

import hashlib

import orjson

from commands.deciders import TABLE
from commands.settle import StreamState
from commands.state_store import Kept, StateStoreFailed
from domain.identity import kind_of
from schemas.outcome import Outcome
from schemas.payload import adapter
from schemas.topics import OUTCOMES
from schemas.wire import WireRecord, decode, outcome_json

_FORMAT = b"2"  # another one, too, when rosters list others than before: their shape does not tell


def fingerprint(software: str) -> str:
    """What must be equal for a snapshot to be read again: the software's version and the shape of every state."""
    digest = hashlib.sha256(_FORMAT + software.encode())
    for kind, aggregate in sorted(TABLE.items()):
        shape = adapter(aggregate.state).json_schema()
        digest.update(kind.encode() + orjson.dumps(shape, option=orjson.OPT_SORT_KEYS))
    return digest.hexdigest()


def state_to_bytes(stream: str, known: StreamState) -> Kept:
    """A stream's state as it is kept."""
    return Kept(known.version, adapter(TABLE[kind_of(stream)].state).serializer.to_json(known.state))


def state_from_bytes(stream: str, kept: Kept) -> StreamState:
    """A kept state. Raises `StateStoreFailed` when it is none."""
    try:
        return StreamState(kept.version, adapter(TABLE[kind_of(stream)].state).validate_json(kept.state))
    except ValueError as error:
        raise StateStoreFailed(f"the snapshot of {stream} cannot be read") from error


def roster_to_bytes(roster: tuple[str, ...]) -> bytes:
    """The ids of unfinished streams as they are kept."""
    return orjson.dumps(roster)


def roster_from_bytes(raw: bytes) -> tuple[str, ...]:
    """Kept ids. Raises `StateStoreFailed` when they are none."""
    try:
        return tuple(orjson.loads(raw))
    except ValueError as error:
        raise StateStoreFailed("a roster cannot be read") from error


def outcome_to_bytes(outcome: Outcome) -> bytes:
    """An outcome as it is kept: as it stands in the log."""
    return outcome_json(outcome)


def outcome_from_bytes(raw: bytes) -> Outcome:
    """A kept outcome. Raises `StateStoreFailed` when it is none."""
    outcome = decode(OUTCOMES, 0, 1, WireRecord(b"", raw))
    if not isinstance(outcome, Outcome):
        raise StateStoreFailed("an outcome cannot be read")
    return outcome

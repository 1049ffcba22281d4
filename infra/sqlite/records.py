"""Does this record fit its topic, and what is stored of it?"""

from dataclasses import dataclass

from infra.sqlite.layout import packed
from schemas.log import RecordTooLarge
from schemas.topics import MAX_RECORD_BYTES
from schemas.wire import Body, WireRecord, encode


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as its columns; `size` is their length together."""

    key: bytes
    value: bytes
    headers: bytes
    size: int


def stored(record: WireRecord) -> Stored:
    """The columns of a record."""
    headers = packed(record.headers)
    return Stored(record.key, record.value, headers, len(record.key) + len(record.value) + len(headers))


def encoded(body: Body) -> Stored:
    """The columns of what is to be written. Raises `RecordTooLarge`."""
    record = stored(encode(body))
    if record.size > MAX_RECORD_BYTES:
        raise RecordTooLarge(f"{record.size} bytes; the limit is {MAX_RECORD_BYTES}")
    return record

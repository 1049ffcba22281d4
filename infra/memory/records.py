"""Does this record fit its topic, and what are its bytes?"""

from schemas.log import RecordTooLarge
from schemas.topics import MAX_RECORD_BYTES
from schemas.wire import Body, WireRecord, encode


def encoded(body: Body) -> WireRecord:
    """A record as bytes. Raises `RecordTooLarge`."""
    record = encode(body)
    size = len(record.key) + len(record.value) + sum(len(name) + len(value) for name, value in record.headers)
    if size > MAX_RECORD_BYTES:
        raise RecordTooLarge(f"{size} bytes; the limit is {MAX_RECORD_BYTES}")
    return record

"""How does a broker answer that knows of no brokers? As one does that has just been woken up (confluentinc/librdkafka#5301).

Written after the schema of Kafka's Metadata answer, versions 9 to 13, which begin alike: correlation id, tags, throttle time,
then the brokers, each with number, host, port, rack and tags.
"""

METADATA, FLEXIBLE = 3, 9
"""The API key of the request, and the first version whose lengths are variable."""

_CORRELATION, _THROTTLE, _NUMBER, _PORT = 4, 4, 4, 4


def without_brokers(answer: bytes) -> bytes:
    """The same answer without its brokers; it is given without the length before it."""
    brokers = _after_tags(answer, _CORRELATION) + _THROTTLE
    count, at = _varint(answer, brokers)
    for _ in range(count - 1):
        at = _after_text(answer, at + _NUMBER) + _PORT
        at = _after_tags(answer, _after_text(answer, at))
    return answer[:brokers] + b"\x01" + answer[at:]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number of seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def _after_text(data: bytes, at: int) -> int:
    """Where a text that may be null ends: its length is told one too large."""
    length, at = _varint(data, at)
    return at + max(0, length - 1)


def _after_tags(data: bytes, at: int) -> int:
    count, at = _varint(data, at)
    for _ in range(count):
        _, at = _varint(data, at)
        size, at = _varint(data, at)
        at += size
    return at

"""What becomes of a header that somebody sent without a value?"""

from infra.kafka.consuming import wire_record
from schemas.wire import WireRecord


class Message:
    """A consumed message, as far as a record is made of it."""

    def __init__(self, headers, key=b"k", value=b"v"):
        self.headers, self.key, self.value = lambda: headers, lambda: key, lambda: value


def test_a_header_without_a_value_has_an_empty_one():
    found = wire_record(Message([("ce_id", b"1"), ("traceparent", None), ("ce_type", b"")]))
    assert found == WireRecord(b"k", b"v", (("ce_id", b"1"), ("traceparent", b""), ("ce_type", b"")))


def test_headers_with_values_stay_as_they_are():
    assert wire_record(Message([("a", b"1"), ("a", b"2")])) == WireRecord(b"k", b"v", (("a", b"1"), ("a", b"2")))


def test_a_message_without_headers_key_and_value_is_a_record_of_nothing():
    assert wire_record(Message(None, None, None)) == WireRecord(b"", b"")

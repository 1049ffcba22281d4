"""Do ids, times and outcomes read as they always did, also where orjson writes them?"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.attributes import id_bytes, id_from, id_of, time_bytes
from schemas.outcome import Accepted
from schemas.wire import encode_outcome
from tests.schemas.test_wire import OUTCOMES

OFFSETS = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)
ZONES = st.none() | st.just(UTC) | OFFSETS | st.sampled_from([ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")])
TIMES = st.datetimes(timezones=ZONES)


@given(st.uuids())
@example(UUID(int=0))
def test_an_id_reads_as_str_writes_it(identifier):
    assert id_bytes(identifier) == str(identifier).encode()


ID_FORMS = ("{}", "{{{}}}", "urn:uuid:{}", "uuid:{}", "urn:{}", " {}", "{} ", "-{}-", "{}0")


@given(st.integers(0, 2**128 - 1))
@example(int.from_bytes(b"0123456789abcdef"))
def test_an_id_is_made_of_its_number(number):
    assert id_of(number) == UUID(int=number)


@given(st.uuids(), st.sampled_from(ID_FORMS), st.sampled_from((str, lambda i: i.hex, lambda i: str(i).upper())))
def test_an_id_is_read_as_pythons_own_reads_it_in_every_form(identifier, form, written):
    text = form.format(written(identifier))
    assert _read_or_refused(id_from, text) == _read_or_refused(UUID, text)


@given(st.text() | st.text("0123456789abcdefABCDEF-_{}+ ", min_size=30, max_size=40))
@example("")
@example("0" * 16)
def test_what_is_no_id_is_refused_as_pythons_own_refuses_it(text):
    assert _read_or_refused(id_from, text) == _read_or_refused(UUID, text)


def _read_or_refused(read, text):
    try:
        found = read(text)
    except ValueError as error:
        return str(error)
    return found, found.int, found.is_safe


@given(TIMES)
@example(datetime(2026, 1, 1, tzinfo=UTC))
@example(datetime.min.replace(tzinfo=UTC))
@example(datetime.max.replace(tzinfo=UTC))
def test_a_time_reads_as_isoformat_writes_it(time):
    assert time_bytes(time) == time.isoformat().encode()


@given(OUTCOMES, TIMES)
def test_an_outcome_is_written_field_by_field_in_plain_json(outcome, time):
    outcome, result = replace(outcome, time=time), outcome.result
    if isinstance(result, Accepted):
        told = {"accepted": {"version": result.version, "event_ids": [str(event_id) for event_id in result.event_ids]}}
    else:
        errors = [{"field": error.field, "message": error.message} for error in result.errors]
        told = {"rejected": {"code": result.code, "message": result.message, "errors": errors}}
    assert encode_outcome(outcome).value == orjson.dumps(
        {
            "command_id": str(outcome.command_id),
            "stream": outcome.stream,
            "type": outcome.type,
            "actor": {"kind": outcome.actor.kind, "name": outcome.actor.name},
            "fingerprint": outcome.fingerprint,
            "correlation_id": outcome.correlation_id,
            "time": time.isoformat(),
            **told,
        }
    )


@given(OUTCOMES, TIMES)
def test_an_outcome_made_of_a_written_one_equals_it_as_before_and_is_written_anew(outcome, time):
    encode_outcome(outcome)
    assert replace(outcome) == outcome and replace(outcome).written is None
    other = replace(outcome, time=time)
    assert encode_outcome(other).value == encode_outcome(replace(other)).value
    assert encode_outcome(outcome).value == encode_outcome(replace(outcome)).value

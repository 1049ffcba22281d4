"""Do ids, times and outcomes read as they always did, also where orjson writes them?"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.attributes import id_bytes, time_bytes
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

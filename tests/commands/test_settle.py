"""One command becomes events and an outcome, whatever the command is."""

from dataclasses import replace
from datetime import datetime
from uuid import uuid4, uuid5

import orjson
import pytest

from commands import deciders
from commands.recording import MAX_EVENTS
from domain.decider import Decider
from domain.target import RecordTargetCheck, RequestTargetCheck, TargetRetitled
from schemas.actor import Actor, system
from schemas.event_envelope import hash_of
from schemas.log import Undecodable
from schemas.outcome import Accepted, Rejected
from schemas.topics import MAX_PAYLOAD_BYTES, MAX_RECORD_BYTES
from schemas.wire import encode_outcome
from tests.commands.shard import Shard, code_of, codes_of
from tests.support.builders import (
    ALICE,
    NOON,
    claim_run,
    define_job,
    envelope,
    fail_run,
    job_definition,
    register_target,
    request_run,
    retitle_target,
    run_of,
)


def test_an_accepted_command_gives_numbered_events_that_carry_everything_about_its_cause():
    cause = uuid4()
    command = register_target(
        on_behalf_of=Actor("user", "bob"), causation_id=cause, traceparent="00-ab-cd-01", correlation_id="c-7"
    )
    (settled,) = Shard().settle(command)
    (event,) = settled.events
    assert settled.outcome.result == Accepted(1, (event.event_id,))
    assert (event.type, event.schema_version, event.stream, event.version) == ("TargetRegistered", 1, "target/web-01", 1)
    assert (event.actor, event.on_behalf_of, event.time) == (ALICE, Actor("user", "bob"), NOON)
    assert (event.command_id, event.correlation_id, event.causation_id) == (command.command_id, "c-7", cause)
    assert event.traceparent == "00-ab-cd-01"
    assert event.event_id == uuid5(command.command_id, "0")
    assert orjson.loads(event.payload)["host"] == "web-01.example.org"


def test_the_same_command_settled_anew_gives_the_same_events_bit_for_bit():
    command = register_target()
    assert Shard().settle(command) == Shard().settle(command)


def test_events_are_chained_within_their_topic_over_commands_and_transactions():
    shard = Shard()
    first = shard.settle(register_target("a"), define_job(), register_target("b"))
    shard.commit()
    second = shard.settle(retitle_target("a", "one"), retitle_target("b", "two"))
    targets = [event for one in (first[0], first[2], *second) for event in one.events]
    assert targets[0].previous_hash == "0" * 64
    assert [event.previous_hash for event in targets[1:]] == [event.hash for event in targets[:-1]]
    assert all(event.hash == hash_of(event) for event in targets)
    assert first[1].events[0].previous_hash == "0" * 64, "jobs have a chain of their own"


def test_what_was_discarded_leaves_no_link_in_the_chain():
    shard = Shard()
    shard.settle(register_target("a"))
    shard.discard()
    (settled,) = shard.settle(register_target("b"))
    assert settled.events[0].previous_hash == "0" * 64


def test_a_command_that_changes_nothing_is_accepted_at_the_version_the_stream_has():
    shard = Shard()
    shard.settle(register_target(), retitle_target(title="same"))
    (settled,) = shard.settle(retitle_target(title="same"))
    assert (settled.outcome.result, settled.events) == (Accepted(2), ())


# --- repeated ---------------------------------------------------------------------------------------------------------


def test_a_command_sent_fifty_times_in_one_batch_appends_once_and_gets_one_outcome_fifty_times():
    command = register_target()
    settled = Shard().settle(*[command] * 50)
    assert [len(one.events) for one in settled] == [1] + [0] * 49
    assert {one.outcome for one in settled} == {settled[0].outcome}
    assert [one.repeated for one in settled] == [False] + [True] * 49


def test_a_rejection_is_remembered_even_when_the_command_would_be_accepted_by_now():
    shard = Shard()
    early = retitle_target()
    shard.settle(early, register_target())
    shard.commit()
    (again,) = shard.settle(early)
    assert (code_of(again), again.repeated) == ("target_not_found", True)


def test_another_command_under_a_known_id_is_told_the_outcome_that_is_remembered():
    shard = Shard()
    first = register_target("a")
    shard.settle(first)
    (other,) = shard.settle(register_target("b", command_id=first.command_id))
    assert other.repeated
    assert other.outcome.stream == "target/a"


def test_an_outcome_that_was_discarded_is_not_remembered():
    shard = Shard()
    command = register_target()
    shard.settle(command)
    shard.discard()
    (again,) = shard.settle(command)
    assert not again.repeated
    assert again.outcome.result.version == 1


# --- refused before deciding ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "code"), [(1, "accepted"), (None, "accepted"), (0, "version_conflict"), (2, "version_conflict")]
)
def test_an_expected_version_must_be_the_streams(expected, code):
    shard = Shard()
    shard.settle(register_target())
    assert codes_of(shard.settle(retitle_target(expected_version=expected))) == [code]


def test_an_expected_version_of_a_stream_that_does_not_exist_is_a_conflict():
    assert codes_of(Shard().settle(retitle_target(expected_version=3))) == ["version_conflict"]


def test_of_two_commands_that_expect_one_version_in_one_batch_the_second_conflicts():
    shard = Shard()
    shard.settle(register_target())
    both = shard.settle(retitle_target(title="x", expected_version=1), retitle_target(title="y", expected_version=1))
    assert codes_of(both) == ["accepted", "version_conflict"]


@pytest.mark.parametrize(
    ("command", "lane"),
    [
        (register_target(actor=system("executor")), "commands.people"),
        (register_target(), "commands.system"),
        (register_target(actor=system("executor")), "commands.system"),
        (claim_run(), "commands.people"),
        (claim_run(actor=ALICE), "commands.system"),
        (claim_run(actor=ALICE), "commands.people"),
    ],
)
def test_each_lane_takes_its_own_actors_and_commands_only(command, lane):
    assert codes_of(Shard().settle(command, lane=lane)) == ["lane_refused"]


def test_tokens_are_people():
    assert codes_of(Shard().settle(register_target(actor=Actor("token", "ci")))) == ["accepted"]


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        ("target/UPPER", "malformed_stream"),
        ("target/", "malformed_stream"),
        ("target/a/b", "malformed_stream"),
        ("target", "malformed_stream"),
        ("job/web-01", "wrong_stream"),
        ("nothing/web-01", "wrong_stream"),
        ("", "wrong_stream"),
        ("target/web-02", "wrong_stream"),
        ("target/" + "x" * 900_000, "malformed_stream"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(stream, code):
    (settled,) = Shard().settle(replace(register_target(), stream=stream))
    assert (code_of(settled), settled.events) == (code, ())
    assert len(encode_outcome(settled.outcome).value) < 10_000


@pytest.mark.parametrize("stream", ["run/backup", "run/backup.1", "run/Backup.0190a3f4-0000-7000-8000-000000000000"])
def test_a_run_stream_must_be_a_run_id(stream):
    assert codes_of(Shard().settle(replace(claim_run(), stream=stream))) == ["malformed_stream"]


def test_a_run_is_requested_only_in_the_shard_of_its_job():
    shard = Shard()
    shard.settle(define_job("backup"), define_job("other"))
    command = replace(request_run(run_of("other")), payload=request_run(run_of("backup")).payload)
    assert codes_of(shard.settle(command)) == ["wrong_stream"]


def test_an_unknown_type_is_refused():
    assert codes_of(Shard().settle(replace(register_target(), type="DoAnything"))) == ["unknown_command"]


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b"[]",
        b"nothing",
        b'{"name": "web-01", "host": "h", "connection": {"credential": "c"}, "surplus": 1}',
        b'{"name": "web-01", "host": 5, "connection": {"credential": "c"}}',
        b'{"name": "web-01", "host": "h", "connection": {"credential": "c", "port": "22"}}',
        b'{"name": "web-01", "host": "h", "connection": {"credential": "c"}, "title": "\\ud800"}',
        b'{"name": "web-01", "host": "h", "connection": {"credential": "c"}, "title": "a\\u0000b"}',
    ],
)
def test_a_payload_is_read_strictly(payload):
    (settled,) = Shard().settle(replace(register_target(), payload=payload))
    assert (code_of(settled), settled.events) == ("validation_failed", ())
    assert settled.outcome.result.errors


def test_text_that_cannot_be_stored_is_refused_before_it_becomes_an_event():
    shard = Shard()
    shard.settle(register_target(), envelope(RequestTargetCheck("c1"), "target/web-01"))
    payload = b'{"check": "c1", "reachable": true, "message": "a\\u0000b"}'
    command = replace(envelope(RecordTargetCheck("c1", True), "target/web-01"), payload=payload)
    (settled,) = shard.settle(command)
    assert (code_of(settled), settled.events) == ("unstorable_text", ())


@pytest.mark.parametrize(
    "change",
    [
        {"correlation_id": "a\x00b"},
        {"correlation_id": ""},
        {"correlation_id": "x" * 900_000},
        {"actor": Actor("user", "a\x00")},
        {"actor": Actor("user", "a" * 900_000)},
        {"actor": Actor("root", "alice")},
        {"on_behalf_of": Actor("user", "")},
        {"traceparent": "x" * 1_000},
        {"fingerprint": "x" * 900_000},
        {"time": datetime(2026, 1, 1)},  # noqa: DTZ001 - the fault itself
    ],
)
def test_nothing_gets_into_an_event_header_that_a_reader_could_not_store(change):
    (settled,) = Shard().settle(replace(register_target(), **change))
    assert (code_of(settled), settled.events) == ("malformed_command", ())
    assert len(encode_outcome(settled.outcome).value) < 10_000


def test_an_undecodable_record_gets_an_outcome_under_an_id_made_from_its_position():
    record = Undecodable("KeyError: 'ce_id'", b"target/\xff", b"\x00")
    first, second = Shard().settle(record, record)
    assert codes_of([first, second]) == ["undecodable_command"] * 2
    assert first.outcome.command_id != second.outcome.command_id
    assert Shard().settle(record)[0].outcome == first.outcome
    assert "commands.people/0/1" in first.outcome.result.message


# --- deciders ---------------------------------------------------------------------------------------------------------


def _faulty(monkeypatch, **parts):
    real = deciders.TABLE["target"]
    whole = {"decide": real.decider.decide, "fold": real.decider.fold, **parts}
    monkeypatch.setitem(deciders.TABLE, "target", replace(real, decider=Decider(real.decider.initial_state, **whole)))


def _raises(*_):
    raise KeyError("hunter2")


@pytest.mark.parametrize("part", ["decide", "fold"])
def test_a_bug_in_a_decider_is_one_commands_outcome_and_no_more(monkeypatch, part):
    _faulty(monkeypatch, **{part: _raises})
    broken, fine = Shard().settle(register_target(correlation_id="c-13"), define_job())
    assert (code_of(broken), broken.events) == ("internal_error", ())
    assert isinstance(broken.bug, KeyError)
    assert "c-13" in broken.outcome.result.message
    assert "hunter2" not in broken.outcome.result.message
    assert code_of(fine) == "accepted"


def test_an_event_too_large_is_refused_alone_among_twenty_good_commands(monkeypatch):
    _faulty(monkeypatch, decide=lambda command, state, _: [TargetRetitled(command.title)], fold=lambda state, _: state)
    commands = [register_target(f"t-{n}") for n in range(21)]
    payload = orjson.dumps({"name": "t-10", "host": "h", "connection": {"credential": "c"}, "title": "x" * MAX_PAYLOAD_BYTES})
    commands[10] = replace(commands[10], payload=payload)
    codes = codes_of(Shard().settle(*commands))
    assert codes == ["accepted"] * 10 + ["event_too_large"] + ["accepted"] * 10


def test_more_events_than_an_outcome_can_name_are_refused(monkeypatch):
    many = [TargetRetitled("x")] * (MAX_EVENTS + 1)
    _faulty(monkeypatch, decide=lambda *_: many, fold=lambda state, _: state)
    assert codes_of(Shard().settle(register_target())) == ["too_many_events"]


def test_the_outcome_of_the_most_events_fits_a_record(monkeypatch):
    _faulty(monkeypatch, decide=lambda *_: [TargetRetitled("x")] * MAX_EVENTS, fold=lambda state, _: state)
    (settled,) = Shard().settle(register_target())
    assert settled.outcome.result.version == MAX_EVENTS
    assert len(encode_outcome(settled.outcome).value) < MAX_RECORD_BYTES


def test_a_long_refusal_is_cut_so_that_the_outcome_fits_a_record(monkeypatch):
    payload = orjson.dumps({f"field-{n}" * 9: n for n in range(10_000)})
    (settled,) = Shard().settle(replace(register_target(), payload=payload))
    assert code_of(settled) == "validation_failed"
    assert len(encode_outcome(settled.outcome).value) < 100_000


# --- companions -------------------------------------------------------------------------------------------------------


def _job(concurrency):
    return define_job(definition=job_definition(concurrency=concurrency))


def test_of_two_runs_requested_in_one_batch_a_job_that_forbids_overlap_refuses_the_second():
    settled = Shard().settle(_job("forbid"), request_run(run_of(number=1)), request_run(run_of(number=2)))
    assert codes_of(settled) == ["accepted", "accepted", "job_is_running"]


def test_a_finished_run_makes_room_in_the_same_batch():
    first, second = run_of(number=1), run_of(number=2)
    settled = Shard().settle(_job("forbid"), request_run(first), claim_run(first), fail_run(first), request_run(second))
    assert codes_of(settled) == ["accepted"] * 5


@pytest.mark.parametrize(("concurrency", "replaces"), [("queue", False), ("replace", True)])
def test_a_queued_or_replacing_run_names_the_unfinished_ones_in_the_order_they_began(concurrency, replaces):
    runs = [run_of(number=n) for n in range(4)]
    shard = Shard()
    shard.settle(_job(concurrency), request_run(runs[0]), request_run(runs[1]))
    shard.commit()
    shard.settle(request_run(runs[2]), claim_run(runs[1]), fail_run(runs[1]))
    (settled,) = shard.settle(request_run(runs[3]))
    payload = orjson.loads(settled.events[0].payload)
    assert payload["waits_for"] == [runs[0], runs[2]]
    assert payload["replaces"] is replaces


def test_a_discarded_run_is_in_no_roster():
    shard = Shard()
    shard.settle(_job("forbid"))
    shard.commit()
    shard.settle(request_run(run_of(number=1)))
    shard.discard()
    assert codes_of(shard.settle(request_run(run_of(number=2)))) == ["accepted"]


def test_a_run_sees_its_job_as_the_batch_has_revised_it():
    shard = Shard()
    settled = shard.settle(define_job(), request_run(revision=2), request_run(run_of(number=2), revision=1))
    assert codes_of(settled) == ["accepted", "job_revised_meanwhile", "accepted"]


def test_rejections_name_the_fields_at_fault():
    (settled,) = Shard().settle(replace(register_target(), payload=b'{"name": "web-01", "host": "h"}'))
    assert isinstance(settled.outcome.result, Rejected)
    assert [error.field for error in settled.outcome.result.errors] == ["connection"]

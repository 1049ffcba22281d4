"""Are commands read strictly and written so that they come back, with faults named by the fields people know?"""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.job.decide import DefineJob
from domain.job.definition import CommandStep, JobDefinition, ScriptStep
from domain.job.parameters import SealedValue
from domain.rejection import MAX_ERROR_TEXT, MAX_ERRORS, Invalid
from domain.run.messages import RequestRun
from domain.target import ChangeTarget, RegisterTarget, SshConnection
from schemas.command_types import TABLE as COMMANDS
from schemas.payload import adapter, from_json, to_json
from schemas.text import unstorable

STEP = {"name": "s", "kind": "command", "run": "true"}
JOB = {"name": "j", "definition": {"targets": "a", "steps": [STEP]}}


def faults(kind, body):
    with pytest.raises(Invalid) as refused:
        from_json(kind, body if isinstance(body, bytes) else orjson.dumps(body))
    return [error.field for error in refused.value.errors]


def job(**more):
    return {**JOB, "definition": {**JOB["definition"], **more}}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_refuses_a_field_it_does_not_know(name):
    assert "colour" in faults(COMMANDS[name].payload, {"colour": "red"})


@pytest.mark.parametrize(
    ("kind", "body", "fields"),
    [
        (DefineJob, job(colour=1), ["definition.colour"]),
        (DefineJob, job(steps=[{**STEP, "colour": 1}]), ["definition.steps.0.colour"]),
        (DefineJob, job(steps=[{**STEP, "retries": {"max": 1, "colour": 1}}]), ["definition.steps.0.retries.colour"]),
        (DefineJob, job(steps=[STEP, {"name": "x", "kind": "script"}]), ["definition.steps.1.body"]),
        (DefineJob, job(steps=[{**STEP, "kind": "telepathy"}]), ["definition.steps.0.kind"] * 2),
        (DefineJob, job(strategy={"parallelism": "5"}), ["definition.strategy.parallelism"]),
        (DefineJob, job(strategy={"parallelism": True}), ["definition.strategy.parallelism"]),
        (DefineJob, job(strategy={"batch_size": 1.5}), ["definition.strategy.batch_size"] * 2),
        (DefineJob, job(concurrency="sometimes"), ["definition.concurrency"]),
        (DefineJob, job(steps={"0": STEP}), ["definition.steps"]),
        (DefineJob, {}, ["name", "definition"]),
        (DefineJob, [], [""]),
        (DefineJob, b"null", [""]),
        (DefineJob, b"{", [""]),
        (DefineJob, b'{"name": "\\ud800"}', [""]),
        (RegisterTarget, {"name": "t", "host": "h", "connection": {"credential": "c", "kind": "telepathy"}}, ["connection.kind"]),
        (RegisterTarget, {"name": "t", "host": "h", "connection": {"credential": "c", "port": 22.5}}, ["connection.port"]),
        (RegisterTarget, {"name": "t", "host": "h", "connection": {"credential": "c"}, "labels": ["a"]}, ["labels"]),
        (RegisterTarget, {"name": "t", "host": "h", "connection": {"credential": "c"}, "labels": {"str": 1}}, ["labels.str"]),
        (ChangeTarget, {"labels": {"int": 1}, "title": 5}, ["title", "labels.int"]),
        (RequestRun, {"job": "j", "job_revision": "1", "parameters": {}}, ["job_revision"]),
    ],
)
def test_faults_are_named_by_dotted_paths_without_pydantics_own_words(kind, body, fields):
    assert faults(kind, body) == fields


def test_numbers_that_are_no_numbers_are_refused():
    assert set(faults(RequestRun, b'{"job":"j","job_revision":1,"parameters":{"float":NaN}}')) == {"parameters.float"}
    assert faults(DefineJob, orjson.dumps(job()).replace(b'"targets"', b'"timeout_s":Infinity,"targets"')) == [
        "definition.timeout_s"
    ]


def test_faults_never_show_what_was_sent():
    with pytest.raises(Invalid) as refused:
        from_json(RequestRun, b'{"job":"j","job_revision":"hunter2","parameters":{"p":["hunter2"]}}')
    assert "hunter2" not in str(refused.value)


def test_what_is_refused_is_told_within_bounds():
    with pytest.raises(Invalid) as refused:
        from_json(RequestRun, orjson.dumps({f"{n}" + "x" * 5_000: n for n in range(500)}))
    errors = refused.value.errors
    assert len(errors) == MAX_ERRORS and all(len(e.field) <= MAX_ERROR_TEXT for e in errors)
    assert len(orjson.dumps(str(refused.value))) < 60_000


PLAIN = (
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=9) | st.booleans() | st.integers(-(2**53), 2**53)
)
VALUES = PLAIN | st.floats(allow_nan=False, allow_infinity=False) | st.builds(SealedValue, st.just("v1"))


@given(st.dictionaries(st.sampled_from("abcdef"), VALUES))
def test_parameters_come_back_with_their_types(parameters):
    again = from_json(RequestRun, to_json(RequestRun("j", 1, parameters))).parameters
    assert {k: (type(v), v) for k, v in again.items()} == {k: (type(v), v) for k, v in parameters.items()}


@pytest.mark.parametrize(
    "command",
    [
        DefineJob(
            "j",
            JobDefinition(targets="a", steps=(CommandStep(name="s", run="true"), ScriptStep(name="t", body="x", shell="python"))),
        ),
        RegisterTarget("t", "h", SshConnection("c", port=2222, host_key=None), "T", {"a": "b"}),
        ChangeTarget(labels={"a": None, "b": ""}),
    ],
)
def test_a_command_comes_back_as_it_was(command):
    assert from_json(type(command), to_json(command)) == command


@pytest.mark.parametrize(
    ("parameters", "path", "code"),
    [
        ({"p": "a\x00"}, "parameters.p", "unstorable_text"),
        ({"p": 2**53 + 1}, "parameters.p", "validation_failed"),
        ({"p": float("inf")}, "parameters.p", "validation_failed"),
        ({"p\x00": 1}, "parameters", "unstorable_text"),
        ({"p": "a\ud800"}, "parameters.p", "unstorable_text"),
        ({"p\ud800": 1}, "parameters", "unstorable_text"),
    ],
)
def test_what_cannot_be_stored_is_never_written(parameters, path, code):
    with pytest.raises(Invalid) as refused:
        to_json(RequestRun("j", 1, parameters))
    assert (refused.value.code, [e.field for e in refused.value.errors]) == (code, [path])


ODD_TEXT = ["NaN", "\\u0000", "1" * 20, "a\x00", "\ud800", "b\udfff", "\ufffd"]
ANY_TEXT = st.text(max_size=9) | st.sampled_from(ODD_TEXT)
ANYTHING = ANY_TEXT | st.booleans() | st.integers() | st.integers(2**53 - 2, 2**53 + 2) | st.integers(-(2**70), 2**70)
ANYTHING |= st.floats() | st.sampled_from([float("nan"), float("inf"), float("-inf")])


@given(st.dictionaries(ANY_TEXT, ANYTHING, max_size=4))
def test_exactly_what_cannot_be_stored_is_refused_and_all_else_written_as_it_always_was(parameters):
    request = RequestRun("j", 1, parameters)
    faults = list(unstorable(parameters, "parameters"))
    if faults:
        with pytest.raises(Invalid) as refused:
            to_json(request)
        assert [(e.field, e.message) for e in refused.value.errors] == faults
    else:
        assert to_json(request) == adapter(RequestRun).dump_json(request)

"""Are values right for parameters, and parameters for a job?"""

import pytest

from domain.job.parameters import MAX_VALUE_BYTES, Parameter, SealedValue, as_text, check_parameters, resolve
from domain.rejection import Invalid

SEALED = SealedValue("v1")


def parameter(type_, **more):
    return Parameter(**{"name": "p", "type": type_, **more})


DAYS = parameter("integer", minimum=1, maximum=90)
LEVEL = parameter("string", choices=("low", "high"))


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        (parameter("string"), ""),
        (parameter("string"), "a b'; $(x) \n é"),
        (parameter("string"), "x" * MAX_VALUE_BYTES),
        (DAYS, 1),
        (DAYS, 90),
        (parameter("integer"), -(10**15)),
        (parameter("number"), 1),
        (parameter("number"), 0.5),
        (parameter("number", minimum=0.5, maximum=0.5), 0.5),
        (parameter("boolean"), True),
        (parameter("boolean"), False),
        (LEVEL, "low"),
        (parameter("integer", choices=(1, 2)), 2),
        (parameter("secret"), SEALED),
    ],
)
def test_a_fitting_value_is_taken_as_it_is(wanted, value):
    assert resolve((wanted,), {"p": value}) == {"p": value}


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        (parameter("string"), 5),
        (parameter("string"), True),
        (parameter("string"), "x" * (MAX_VALUE_BYTES + 1)),
        (parameter("string"), "é" * (MAX_VALUE_BYTES // 2 + 1)),
        (DAYS, "7"),
        (DAYS, 7.0),
        (DAYS, True),
        (DAYS, 0),
        (DAYS, 91),
        (parameter("number"), "1"),
        (parameter("number"), False),
        (parameter("number", maximum=1), 1.5),
        (parameter("boolean"), 1),
        (parameter("boolean"), "true"),
        (LEVEL, "middle"),
        (LEVEL, "LOW"),
        (parameter("integer", choices=(1, 2)), 3),
        (parameter("integer", choices=(1, 2)), True),
        (parameter("secret"), "in clear"),
        (parameter("string"), SEALED),
        (DAYS, SEALED),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name_and_a_secret_is_not_shown(wanted, value):
    with pytest.raises(Invalid) as refused:
        resolve((wanted,), {"p": value})
    assert [error.field for error in refused.value.errors] == ["parameters.p"]
    assert "in clear" not in str(refused.value)


@pytest.mark.parametrize(
    ("wanted", "given", "values"),
    [
        (parameter("integer", default=7), {}, {"p": 7}),
        (parameter("integer", default=7), {"p": 8}, {"p": 8}),
        (parameter("boolean", default=False), {}, {"p": False}),
        (parameter("string", default=""), {}, {"p": ""}),
        (parameter("string", required=False), {}, {}),
        (parameter("string", required=True, default="x"), {}, {"p": "x"}),
        (parameter("secret", required=False), {}, {}),
    ],
)
def test_defaults_are_filled_in_and_what_is_not_required_may_be_left_out(wanted, given, values):
    assert resolve((wanted,), given) == values


@pytest.mark.parametrize("wanted", [parameter("string"), parameter("string", required=True), parameter("secret")])
def test_a_parameter_is_required_unless_it_says_otherwise(wanted):
    with pytest.raises(Invalid) as refused:
        resolve((wanted,), {})
    assert [(e.field, e.message) for e in refused.value.errors] == [("parameters.p", "is required")]


def test_all_faults_are_named_at_once():
    with pytest.raises(Invalid) as refused:
        resolve((DAYS, parameter("string", name="q")), {"p": 0, "x": 1})
    assert [error.field for error in refused.value.errors] == ["parameters.x", "parameters.p", "parameters.q"]


@pytest.mark.parametrize(
    ("parameters", "fields"),
    [
        ((parameter("string"),), []),
        ((parameter("string", name="1a"),), ["parameters.0.name"]),
        ((parameter("string", name="a-b"),), ["parameters.0.name"]),
        ((parameter("string", name="a" * 64),), ["parameters.0.name"]),
        ((parameter("string", name="é"),), ["parameters.0.name"]),
        ((parameter("string", name="PATH\n"),), ["parameters.0.name"]),
        ((parameter("string", name="a"), parameter("string", name="A")), ["parameters.1.name"]),
        ((parameter("string", title="a\nb"),), ["parameters.0.title"]),
        ((parameter("string", minimum=1),), ["parameters.0.minimum"]),
        ((parameter("boolean", maximum=1),), ["parameters.0.maximum"]),
        ((parameter("integer", minimum=2, maximum=1),), ["parameters.0.maximum"]),
        ((parameter("integer", default="7"),), ["parameters.0.default"]),
        ((parameter("integer", default=0, minimum=1),), ["parameters.0.default"]),
        ((parameter("integer", choices=(1, "2")),), ["parameters.0.choices.1"]),
        ((parameter("integer", choices=()),), ["parameters.0.choices"]),
        ((parameter("string", choices=("a",), default="b"),), ["parameters.0.default"]),
        ((parameter("secret", default="s3cret"),), ["parameters.0.default"]),
        ((parameter("secret", choices=("s3cret",)),), ["parameters.0.default"]),
        (tuple(parameter("string", name=f"p{n}") for n in range(101)), ["parameters"]),
    ],
)
def test_a_definition_of_parameters_names_its_faults(parameters, fields):
    errors = list(check_parameters(parameters))
    assert [error.field for error in errors] == fields
    assert not any("s3cret" in error.message for error in errors)


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (False, "false"), (7, "7"), (-0.5, "-0.5"), (1e22, "1e+22"), (0.1, "0.1"), ("a\nb", "a\nb")],
)
def test_a_value_reaches_a_step_as_text(value, text):
    assert as_text(value) == text

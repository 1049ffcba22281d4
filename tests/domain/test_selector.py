"""Which targets does a selector mean?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rejection import Invalid
from domain.selector import LABEL_KEY, MAX_LABEL_VALUE, Requirement, check_labels, matches, parse_selector

WEB = {"env": "prod", "role": "web", "empty": ""}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("env=prod", True),
        ("env=test", False),
        ("env=prod,role=web", True),
        ("env=prod,role=db", False),
        ("role!=db", True),
        ("role!=web", False),
        ("missing!=x", True),
        ("missing=x", False),
        ("missing=", False),
        ("empty=", True),
        ("empty!=", False),
        ("env", True),
        ("missing", False),
        ("!env", False),
        ("!missing", True),
        ("name=web-01", True),
        ("name!=web-01", False),
        (" env = prod , role != db ", True),
    ],
)
def test_a_selector_means_the_targets_that_meet_all_its_requirements(text, meant):
    assert matches(parse_selector(text), "web-01", WEB) is meant


@pytest.mark.parametrize(
    ("text", "requirement"),
    [
        ("env=a!=b", Requirement("env", "=", "a!=b")),
        ("env!=a=b", Requirement("env", "!=", "a=b")),
        ("a.b/c_d-e", Requirement("a.b/c_d-e", "exists")),
        ("! env", Requirement("env", "absent")),
    ],
)
def test_the_first_operator_counts(text, requirement):
    assert parse_selector(text) == (requirement,)


EMPTY = ["", " ", ",", "env=prod,", ",env"]
WRONG = ["env==prod", "===", "=x", "!=x", "!", "!!a", "!a=b", "a b=c", "é=x", "a;b", "a'b=c", "-a=b", "a-=b"]
HOSTILE = ["a\n=b", "a=b\nc", "a=\x00", "a=" + "x" * 201, "a" * 64, "a=b," * 600 + "a"]


@pytest.mark.parametrize("text", EMPTY + WRONG + HOSTILE)
def test_what_is_no_selector_is_refused_naming_the_field(text):
    with pytest.raises(Invalid) as refused:
        parse_selector(text, "targets")
    assert [error.field for error in refused.value.errors] == ["targets"]


KEYS = st.from_regex(LABEL_KEY, fullmatch=True).filter(lambda key: key != "name")
VALUES = st.text(st.characters(codec="utf-8", exclude_characters=","), max_size=MAX_LABEL_VALUE)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_every_label_a_target_may_have_can_be_selected_by(labels):
    allowed = {key: value for key, value in labels.items() if not check_labels({key: value})}
    for key, value in allowed.items():
        assert matches(parse_selector(f"{key}={value}"), "t", allowed)
        assert not matches(parse_selector(f"{key}!={value}"), "t", allowed)
        assert matches(parse_selector(f"{key}={value},{key},name=t"), "t", allowed)


@given(st.text(max_size=50))
def test_any_text_parses_or_is_invalid(text):
    try:
        selector = parse_selector(text)
    except Invalid:
        return
    matches(selector, "t", {})

"""Where do values go in a script?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.job.template import names_in, referring, variable_of
from domain.selector import LABEL_KEY


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("echo {{ parameters.days }}", ["parameters.days"]),
        ("{{parameters.a}}{{\tlabels.os }}", ["parameters.a", "labels.os"]),
        ("{{ labels.app.kubernetes.io/name }}", ["labels.app.kubernetes.io/name"]),
        ("{{ unknown }}", ["unknown"]),
        ("{{{ target.name }}}", ["target.name"]),
        ("{{ ''.__class__ }} {{ a.b() }} {{ a|b }} {{ a. }} {{ .Names }} {{json .}} {{}} {{ 1a }} {% if x %} ${x} { { a } }", []),
        ("{{ a\n.b }} {{\na }}", []),
    ],
)
def test_only_dotted_paths_are_placeholders(text, names):
    assert [placeholder.name for placeholder in names_in(text)] == names


def test_each_placeholder_is_replaced_once_and_never_expanded_again():
    assert (
        referring("{{ a.b }}-{{ c.d }}-{{x y}}", lambda name: f"{{{{ {name}.again }}}}")
        == "{{ a.b.again }}-{{ c.d.again }}-{{x y}}"
    )


@given(st.text())
def test_a_text_without_placeholders_stays_as_it_is(text):
    if not names_in(text):
        assert referring(text, lambda name: "X") == text


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("parameters.days", "OPS_PARAM_DAYS"),
        ("target.name", "OPS_TARGET_NAME"),
        ("target.host", "OPS_TARGET_HOST"),
        ("run.id", "OPS_RUN_ID"),
        ("labels.os", "OPS_LABEL_os"),
        ("labels.a.b", "OPS_LABEL_a_2eb"),
    ],
)
def test_a_name_has_a_variable(name, variable):
    assert variable_of(name) == variable


KEYS = st.from_regex(LABEL_KEY, fullmatch=True)


@given(KEYS, KEYS)
def test_no_two_labels_share_a_variable_and_every_variable_is_a_name(one, other):
    assert (variable_of(f"labels.{one}") == variable_of(f"labels.{other}")) == (one == other)
    assert variable_of(f"labels.{one}").replace("_", "a").isalnum()

"""Does a value that was given as text become what JSON would have it be, and nothing else?"""

from typing import Any

import pytest
import typer

from infra.cli.context import pairs
from infra.cli.run_parameters import typed, without_line_end


@pytest.mark.parametrize(
    ("kind", "said", "value"),
    [
        ("integer", "7", 7),
        ("integer", "-0", 0),
        ("number", "7", 7),
        ("number", "1e3", 1000.0),
        ("number", "-0.5", -0.5),
        ("boolean", "true", True),
        ("boolean", "false", False),
        ("string", "7", "7"),
        ("secret", "true", "true"),
    ],
)
def test_what_json_would_write_so_is_of_the_parameter_s_type(kind: str, said: str, value: Any) -> None:
    assert repr(typed(kind, said)) == repr(value)


@pytest.mark.parametrize("kind", ["integer", "number", "boolean"])
@pytest.mark.parametrize(
    "said",
    [
        *[
            "1_000",
            " 7",
            "7 ",
            "7\n",
            "٣",
            "+7",
            "07",
            "0x7",
            ".5",
            "5.",
            "1e400",
            "-1e400",
            "nan",
            "inf",
            "-Infinity",
            "",
            "True",
            "yes",
        ],
        "9" * 5000,
    ],
)
def test_what_it_would_not_stays_text_that_the_server_refuses(kind: str, said: str) -> None:
    assert typed(kind, said) == said and isinstance(typed(kind, said), str)


def test_one_line_end_at_the_end_of_a_file_is_not_part_of_the_value() -> None:
    ends = {"a\n": "a", "a\r\n": "a", "a": "a", "a\n\n": "a\n", "a\r": "a\r", " a \n": " a ", "": "", "\n": ""}
    assert {said: without_line_end(said) for said in ends} == ends


def test_a_name_that_is_given_twice_is_refused() -> None:
    assert pairs(["a=1", "b=x=y", "c="], "--label") == {"a": "1", "b": "x=y", "c": ""}
    for wrong in (["a=1", "a=2"], ["a=1", "a=1"], ["a"], ["=1"]):
        with pytest.raises(typer.BadParameter):
            pairs(wrong, "--label")

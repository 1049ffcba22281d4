"""Does the page of the fault cases name each of them once, and only tests that there are?"""

import ast
import re
from collections import Counter
from functools import cache

from tests.house.files import TOP

PAGE = TOP / "docs/explanation/fault-cases.md"
GONE = {4, 10, 12, 19, 24, 31, 39, 43, 50, 52, 55, 62, 66}
CASES = set(range(1, 69)) - GONE
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows() -> list[tuple[int, str]]:
    """Number and text of each row."""
    found = re.findall(r"^\| (\d+) \|(.*)$", PAGE.read_text(), re.MULTILINE)
    return [(int(number), text) for number, text in found]


@cache
def found_in(file: str) -> set[str]:
    """The tests of a file; a machine of Hypothesis is one by being given a name."""
    nodes = list(ast.walk(ast.parse((TOP / file).read_text())))
    named = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    given = {ast.unparse(node.targets[0]) for node in nodes if isinstance(node, ast.Assign)}
    return {name for name in named if name.startswith("test_")} | {name for name in given if name.startswith("Test")}


def test_every_case_is_there_exactly_once() -> None:
    assert Counter(number for number, _ in rows()) == Counter(CASES)
    (said,) = re.findall(r"of no case \(([\d, and]+)\)", PAGE.read_text())
    assert {int(number) for number in said.split(",")} == GONE


def test_every_test_that_is_named_exists() -> None:
    named = TEST.findall(PAGE.read_text())
    absent = [f"{file}::{test}" for file, test in named if not (TOP / file).is_file() or test not in found_in(file)]
    assert absent == [] and len(named) == PAGE.read_text().count("::") > len(CASES)


def test_a_case_without_a_test_says_why() -> None:
    told = {number: bool(TEST.search(text)) for number, text in rows()}
    assert [number for number, text in rows() if not told[number] and "not: because " not in text] == []
    assert all("because " in part for _, text in rows() for part in re.split(r"\*Not:\*", text)[1:])

"""What has to be so of a page with numbered cases, each with the tests that show it?"""

import ast
import re
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.house.files import TOP

TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@dataclass(frozen=True)
class Page:
    """A page, the numbers of the cases it is about, and of those that are none."""

    path: Path
    cases: Set[int]
    gone: Set[int]

    @property
    def text(self) -> str:
        return self.path.read_text()

    def rows(self) -> list[tuple[int, str]]:
        """Number and text of each row."""
        found = re.findall(r"^\| (\d+) \|(.*)$", self.text, re.MULTILINE)
        return [(int(number), text) for number, text in found]

    def names_each_case_once(self) -> None:
        assert Counter(number for number, _ in self.rows()) == Counter(self.cases)
        (said,) = re.findall(r"of no case \(([\d, and]+)\)", self.text)
        assert {int(number) for number in said.split(",")} == self.gone

    def names_only_tests_that_there_are(self) -> None:
        named = TEST.findall(self.text)
        absent = [f"{file}::{test}" for file, test in named if not (TOP / file).is_file() or test not in found_in(file)]
        assert absent == [] and len(named) == self.text.count("::") > len(self.cases)

    def says_why_where_there_is_none(self) -> None:
        without = [(number, text) for number, text in self.rows() if not TEST.search(text)]
        assert [number for number, text in without if not re.search(r"not:\*? because ", text, re.IGNORECASE)] == []
        assert all("because " in part for _, text in self.rows() for part in re.split(r"\*Not:\*", text)[1:])


@cache
def found_in(file: str) -> set[str]:
    """The tests of a file; a machine of Hypothesis is one by being given a name."""
    nodes = list(ast.walk(ast.parse((TOP / file).read_text())))
    named = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    given = {ast.unparse(node.targets[0]) for node in nodes if isinstance(node, ast.Assign)}
    return {name for name in named if name.startswith("test_")} | {name for name in given if name.startswith("Test")}

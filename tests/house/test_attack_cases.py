"""Does the threat model name each attack once, and only tests that there are?"""

import re
from collections import Counter

from tests.house.files import TOP
from tests.house.test_fault_cases import TEST, found_in

PAGE = TOP / "docs/explanation/threat-model.md"
GONE = {3, 12, 19, 22, 27, 33, 38, 40, 44, 50, 53, 57, 65}
CASES = set(range(1, 71)) - GONE


def rows() -> list[tuple[int, str]]:
    """Number and text of each row."""
    found = re.findall(r"^\| (\d+) \|(.*)$", PAGE.read_text(), re.MULTILINE)
    return [(int(number), text) for number, text in found]


def test_every_attack_is_there_exactly_once() -> None:
    assert Counter(number for number, _ in rows()) == Counter(CASES)
    (said,) = re.findall(r"of no case \(([\d, and]+)\)", PAGE.read_text())
    assert {int(number) for number in said.split(",")} == GONE


def test_every_test_that_is_named_exists() -> None:
    named = TEST.findall(PAGE.read_text())
    absent = [f"{file}::{test}" for file, test in named if not (TOP / file).is_file() or test not in found_in(file)]
    assert absent == [] and len(named) == PAGE.read_text().count("::") > len(CASES)


def test_an_attack_without_a_test_says_why() -> None:
    without = [(number, text) for number, text in rows() if not TEST.search(text)]
    assert [number for number, text in without if "*Not:* because " not in text] == []
    assert all("because " in part for _, text in rows() for part in re.split(r"\*Not:\*", text)[1:])

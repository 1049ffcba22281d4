"""Does the threat model name each attack once, and only tests that there are?"""

from tests.house.cases import Page
from tests.house.files import TOP

GONE = {3, 12, 19, 22, 27, 33, 38, 40, 44, 50, 53, 57, 65}
PAGE = Page(TOP / "docs/explanation/threat-model.md", set(range(1, 71)) - GONE, GONE)


def test_every_attack_is_there_exactly_once() -> None:
    PAGE.names_each_case_once()


def test_every_test_that_is_named_exists() -> None:
    PAGE.names_only_tests_that_there_are()


def test_an_attack_without_a_test_says_why() -> None:
    PAGE.says_why_where_there_is_none()
